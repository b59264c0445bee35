"""The real command line, the saved folder, and the processes that read it."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.errors import Cancelled, EspalierError
from models.storage.files import sha256
from pruning import PruningConfig, prune
from pruning.commands.cli import main
from pruning.saved import saving
from pruning.saved.saving import save_pruned

PLAIN_LOADER = """
import json, sys
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto")
zeros = {name: float((weight == 0).float().mean()) for name, weight in model.named_parameters()}
print(json.dumps({"zeros": zeros, "dtype": str(model.dtype), "espalier": "pruning" in sys.modules}))
"""

QUICK = ("--samples", "4", "--sequence-length", "32", "--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def folder(tiny_folder):
    return tiny_folder("llama")


def test_wanda_from_end_to_end(run_cli, capsys, folder, tmp_path):
    out = tmp_path / "pruned"
    done = run_cli("pruning", "prune", folder, "--out", out, "--method", "wanda", "--sparsity", "0.5", "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sparsity"] == 0.5 and not report["saves_memory"]
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]

    plain = subprocess.run(
        [sys.executable, "-c", PLAIN_LOADER, str(out)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = json.loads(plain.stdout.splitlines()[-1])
    assert loaded["dtype"] == "torch.float32" and not loaded["espalier"]
    for name, share in loaded["zeros"].items():
        assert share == (0.5 if "proj" in name else 0.0)
    dense, pruned = load_file(folder / "model.safetensors"), load_file(out / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"):
        assert torch.equal(dense[name], pruned[name])

    record = json.loads((out / "pruning.json").read_text())
    assert record["dense"]["id"] == str(folder) and record["dense"]["revision"].startswith("sha256:")
    assert record["config"]["method"] == "wanda" and len(record["plan"]["projections"]) == 21

    assert main(["prune", str(folder), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err

    inspected = json.loads(run_cli("pruning", "inspect", out, "--json").stdout)
    assert inspected["agrees"] is True and inspected["sparsity"] == 0.5
    assert {entry["sparsity"] for entry in inspected["projections"]} == {0.5}

    # The record is not what is read: a weight mended behind its back shows.
    pruned["model.layers.1.mlp.up_proj.weight"] = torch.ones_like(pruned["model.layers.1.mlp.up_proj.weight"])
    save_file(pruned, out / "model.safetensors", metadata={"format": "pt"})
    assert main(["inspect", str(out), "--json"]) == 0
    inspected = json.loads(capsys.readouterr().out)
    zeros = {entry["name"]: entry["zeros"] for entry in inspected["projections"]}
    assert inspected["agrees"] is False and zeros["model.layers.1.mlp.up_proj"] == 0


def test_layers_from_end_to_end_in_words(capsys, tiny_folder, tmp_path):
    deep = tiny_folder("gpt2", n_layer=6)
    out = tmp_path / "pruned"
    command = ["prune", str(deep), "--out", str(out), "--structure", "layers", "--sparsity", "0.34", *QUICK]
    assert main([*command, "--dry-run"]) == 0
    assert "blocks removed" in capsys.readouterr().out and not out.exists()
    assert main(command) == 0
    assert "2 of 6 blocks are gone" in capsys.readouterr().out
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "4 blocks" in shown and "Blocks removed" in shown and "agrees with" in shown


def test_a_plan_in_a_file_is_carried_out(capsys, monkeypatch, folder, tmp_path):
    monkeypatch.setattr(saving, "check_reload", lambda *_: None)
    base = ["prune", str(folder), "--device", "cpu", "--dtype", "float32"]
    settings = ["--sparsity", "0.6", "--allocation", "owl", "--samples", "4", "--sequence-length", "32"]
    assert main([*base, *settings, "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["config"]["sparsity"] == 0.6 and planned["forecast"]["memory_bytes"] > 0
    assert not list(tmp_path.iterdir())
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(planned))
    assert main([*base, *settings, "--out", str(tmp_path / "settings"), "--activations", "disk"]) == 0
    assert main([*base, "--plan", str(plan), "--out", str(tmp_path / "plan")]) == 0
    record = str(tmp_path / "plan" / "pruning.json")
    assert main([*base, "--plan", record, "--out", str(tmp_path / "record"), "--json"]) == 0
    hashes = {sha256(tmp_path / name / "model.safetensors") for name in ("settings", "plan", "record")}
    assert len(hashes) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", "settings", "plan", "record"}
    capsys.readouterr()

    for option in (["--out", str(tmp_path / "other")], ["--dry-run"]):
        assert main(["prune", "embedded", "--plan", record, *option]) == 2
        assert "made for another model" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_a_dry_run_shows_bytes_and_a_forecast(capsys, folder, tmp_path):
    assert main(["prune", str(folder), "--dry-run", "--out", str(tmp_path / "pruned"), *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "36.0 KiB -> 36.0 KiB" in shown and "Forecast: about" in shown and "activations 16.0 KiB (cpu)" in shown
    assert not list(tmp_path.iterdir())


def test_methods(run_cli):
    listed = json.loads(run_cli("pruning", "methods", "--json").stdout)
    assert {entry["name"] for entry in listed["method"]} >= {"magnitude", "wanda", "block-influence"}
    assert {"2:4", "4:8", "1:4"} <= set(listed["pattern"][0]["examples"])
    assert "wanda" in run_cli("pruning", "methods").stdout


def test_help_imports_nothing_heavy():
    source = (
        "import sys; from pruning.commands.cli import build_parser; build_parser().format_help();"
        "import pruning; print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", source], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sparsity", "1.5"], "from 0 to below 1"),
        (["--method", "wander"], "use one of block-influence, "),
        (["--pattern", "2:4", "--sparsity", "0.7"], "means a sparsity of 0.5"),
        (["--pattern", "3:5"], "no multiple of 5"),
        (["--calibration", "missing.txt"], "There is no file missing.txt"),
        (["--sequence-length", "4096"], "context of 128"),
        (["--structure", "layers", "--sparsity", "0.1"], "rounds to none"),
        (["--dtype", "int3"], "float32"),
        (["--sparsity", "half"], "invalid float"),
        (["--pack", "zip"], "use auto"),
        (["--activations", "elsewhere"], "invalid choice"),
        (["--device", "cpu", "--offload"], "--offload needs a GPU"),
        (["--plan", "missing.json"], "missing.json does not exist"),
        (["--plan", "plan.json", "--sequence-length", "64"], "omit --sequence-length"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(capsys, folder, tmp_path, arguments, says):
    """In this process, for speed; the subprocess tests show that main's answer is the exit code."""
    try:
        code = main(["prune", str(folder), "--out", str(tmp_path / "pruned"), *arguments])
    except SystemExit as stopped:
        code = stopped.code
    shown = capsys.readouterr()
    assert code == 2 and shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1 and says in shown.err
    assert not list(tmp_path.iterdir())


def test_wrong_command_lines_exit_with_2(run_cli, tmp_path):
    for command in (["prune", "--out", tmp_path / "x", "no-such-folder/"], []):
        done = run_cli("pruning", *command)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def pruned(tiny_model, tiny_tokenizer):
    model = tiny_model("llama")
    return model, prune(model, tiny_tokenizer, PruningConfig(method="magnitude"))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("model.norm.weight", lambda weight: weight.mul_(torch.linspace(0.5, 2, 32)), "answers differently"),
        ("model.layers.0.mlp.up_proj.weight", lambda weight: weight.add_(1e-30), r"zeros in model\.layers\.0\.mlp"),
    ],
)
def test_a_model_that_reads_back_otherwise_is_not_kept(
    tiny_model, tiny_tokenizer, tmp_path, monkeypatch, name, change, says
):
    model, report = pruned(tiny_model, tiny_tokenizer)
    own = model.save_pretrained

    def spoiled(folder):
        own(folder)
        weights = load_file(folder / "model.safetensors")
        change(weights[name])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(model, "save_pretrained", spoiled)
    with pytest.raises(EspalierError, match=says):
        save_pruned(model, tiny_tokenizer, report, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tiny_model, tiny_tokenizer, tmp_path, monkeypatch):
    model, report = pruned(tiny_model, tiny_tokenizer)

    def cancelled(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise Cancelled

    monkeypatch.setattr(model, "save_pretrained", cancelled)
    with pytest.raises(Cancelled):
        save_pruned(model, tiny_tokenizer, report, tmp_path / "out")
    assert not list(tmp_path.iterdir())
