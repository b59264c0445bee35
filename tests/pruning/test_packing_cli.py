"""`pack`, `unpack` and `prune --pack` as a person types them."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from models import load
from pruning.commands.cli import main

PRUNE = ("pruning", "prune")


@pytest.fixture(scope="module")
def pruned(tiny_folder, run_cli, tmp_path_factory):
    out = tmp_path_factory.mktemp("pruned") / "half"
    done = run_cli(*PRUNE, tiny_folder("llama"), "--out", out, "--method", "magnitude", "--sparsity", "0.5")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def packed(pruned, run_cli):
    out = pruned.parent / "packed"
    done = run_cli("pruning", "pack", pruned, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def files(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_pack_and_unpack_give_the_same_folder_byte_for_byte(pruned, packed, run_cli, tmp_path):
    assert set(files(packed)) - set(files(pruned)) == {"packed.safetensors", "packing.json"}
    with safe_open(packed / "packed.safetensors", framework="pt") as opened:
        assert opened.metadata()["format"] == "espalier-packed"
    done = run_cli("pruning", "unpack", packed, "--out", tmp_path / "plain")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "plain") == files(pruned)


def test_the_packed_model_answers_as_the_pruned_one(pruned, packed):
    ids = torch.tensor([[3, 7, 50, 21]])
    with torch.no_grad():
        left, right = (load(str(folder), dtype="float32").model(ids).logits for folder in (pruned, packed))
    assert torch.allclose(left, right, atol=1e-5)


def test_plain_transformers_refuses_a_packed_folder(packed):
    with pytest.raises(OSError, match="safetensors"):
        AutoModelForCausalLM.from_pretrained(packed)


def test_a_packed_folder_and_a_layout_load_whatever_was_imported_before(packed, pruned):
    code = f"from models import load; print(*(type(load(name).model).__name__ for name in {[str(packed), f'{pruned}::int8']}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["LlamaForCausalLM"] * 2, done.stderr


@pytest.mark.slow
def test_inspect_counts_the_zeros_of_a_packed_folder(pruned, packed, run_cli):
    left, right = (json.loads(run_cli("pruning", "inspect", folder, "--json").stdout) for folder in (pruned, packed))
    assert left["projections"] == right["projections"] and right["agrees"] is True


@pytest.mark.slow
def test_prune_with_pack_saves_a_packed_folder_and_says_what_it_saves(tiny_folder, run_cli, tmp_path):
    settings = ("--method", "magnitude", "--sparsity", "0.7", "--pack", "int8", "--json")
    done = run_cli(*PRUNE, tiny_folder("gpt2"), "--out", tmp_path / "small", *settings)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["packing"]["format"] == "int8" and report["saves_memory"]
    assert report["packing"]["packed_bytes"] < report["packing"]["dense_bytes"] / 2.5
    assert "instead of" in report["note"]
    assert json.loads((tmp_path / "small" / "pruning.json").read_text())["packing"] == report["packing"]


@pytest.mark.slow
def test_an_n_of_m_model_takes_its_own_format(tiny_folder, run_cli, tmp_path):
    done = run_cli(*PRUNE, tiny_folder("llama"), "--out", tmp_path / "a", "--method", "magnitude", "--pattern", "2:4")
    assert done.returncode == 0, done.stderr
    done = run_cli("pruning", "pack", tmp_path / "a", "--out", tmp_path / "b", "--format", "2:4")
    assert done.returncode == 0, done.stderr
    matrices = json.loads((tmp_path / "b" / "packing.json").read_text())["matrices"]
    assert {entry["format"] for name, entry in matrices.items() if name != "lm_head"} == {"2:4"}


@pytest.mark.parametrize(
    "words, remedy",
    [
        (("pack", "{pruned}", "--out", "{new}", "--format", "zip"), "use auto, bitmask"),
        (("pack", "{packed}", "--out", "{new}"), "unpack it first"),
        (("pack", "{pruned}", "--out", "{packed}"), "choose another folder"),
        (("pack", "{pruned}", "--out", "{new}", "--format", "1:4"), "Use auto or bitmask"),
        (("pack", "nowhere/at/all", "--out", "{new}"), "no folder|neither"),
        (("unpack", "{pruned}", "--out", "{new}"), "nothing to unpack"),
        (("unpack", "{packed}", "--out", "{pruned}"), "choose another folder"),
        (("prune", "{packed}", "--out", "{new}", "--method", "magnitude"), "unpack it first"),
        (("prune", "{pruned}", "--out", "{new}", "--pack", "tar"), "use auto, bitmask"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_writes_nothing(words, remedy, pruned, packed, capsys, tmp_path):
    before = files(pruned), files(packed)
    assert main([word.format(pruned=pruned, packed=packed, new=tmp_path / "new") for word in words]) == 2
    output = capsys.readouterr()
    assert not output.out and any(part in output.err.splitlines()[-1] for part in remedy.split("|")), output.err
    assert not (tmp_path / "new").exists() and (files(pruned), files(packed)) == before


@pytest.mark.parametrize("harm", ["cut", "swapped", "record", "later", "missing"])
def test_a_damaged_packed_folder_is_one_line(packed, capsys, tmp_path, harm):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name, content in files(packed).items():
        (folder / name).write_bytes(content)
    packing = json.loads((folder / "packing.json").read_text())
    if harm == "cut":
        weights = (folder / "packed.safetensors").read_bytes()
        (folder / "packed.safetensors").write_bytes(weights[:-100])
    elif harm == "swapped":
        shape = next(iter(packing["matrices"].values()))["shape"]
        shape.reverse()
        shape[0] += 64
    elif harm == "record":
        packing = {"schema_version": 1}
    elif harm == "later":
        packing["schema_version"] = 99
    else:
        (folder / "packed.safetensors").unlink()
    (folder / "packing.json").write_text(json.dumps(packing))
    assert main(["unpack", str(folder), "--out", str(tmp_path / "plain")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "plain").exists()
