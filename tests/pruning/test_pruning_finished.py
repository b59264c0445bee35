"""Finished work is known by all that it depends on, as unfinished work is; destinations and inputs are tried first."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from models.storage.files import read_json, sha256, write_json
from pruning import pipeline
from pruning.commands.cli import main
from pruning.saved import checkpoint, saving

ROOT = Path(__file__).parents[2]
QUICK = ["--samples", "4", "--sequence-length", "32", "--device", "cpu"]
TEXT = "The gardener ties the young branches to the wall. " * 40


@pytest.fixture(autouse=True)
def trusting(monkeypatch):
    """The reload check has tests of its own."""
    monkeypatch.setattr(saving, "check_reload", lambda *_: None)


@pytest.fixture
def place(tmp_path, tiny_folder, monkeypatch):
    """A working folder with a model, another one of the same shape, and a text."""
    for name, seed in (("dense", 0), ("other", 1)):
        shutil.copytree(tiny_folder("llama", seed=seed), tmp_path / name)
    (tmp_path / "text.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND = ["prune", "dense", "--out", "pruned", "--calibration", "text.txt", "--dtype", "float32", *QUICK]


def state(folder) -> dict:
    return {path.name: sha256(path) for path in Path(folder).iterdir()}


def change_weights():
    shutil.copyfile("other/model.safetensors", "dense/model.safetensors")


def change_configuration():
    config = read_json("dense/config.json")
    write_json("dense/config.json", config | {"rms_norm_eps": 0.01})


def change_tokenizer():
    tokenizer = read_json("dense/tokenizer.json")
    tokenizer["post_processor"] = None
    write_json("dense/tokenizer.json", tokenizer)


def change_text():
    Path("text.txt").write_text(TEXT.replace("wall", "tree"))


def plan_of_its_own():
    record = read_json("pruned/pruning.json")
    for entry in record["plan"]["projections"]:
        entry["mask_sha256"] = None
    write_json("plan.json", {"config": record["config"], "plan": record["plan"]})


CHANGES = {
    "dtype": (["--dtype", "bfloat16"], None, "dense.dtype was float32 and is bfloat16"),
    "weights": ([], change_weights, "dense.revision was sha256"),
    "configuration": ([], change_configuration, "dense.revision was sha256"),
    "tokenizer": ([], change_tokenizer, "dense.revision was sha256"),
    "text": ([], change_text, "calibration was "),
    "name of the model": (["other"], None, "dense.id was dense and is other"),
    "sparsity": (["--sparsity", "0.6"], None, "settings.sparsity was 0.5 and is 0.6"),
    "samples": (["--samples", "3"], None, "settings.samples was 4 and is 3"),
    "seed": (["--seed", "7"], None, "settings.seed was 0 and is 7"),
    "packing": (["--pack"], None, "packed was None and is auto"),
    "int8": (["--pack", "int8"], None, "packed was None and is int8"),
}


def changed(words: list[str]) -> list[str]:
    """The command with other words: a MODEL takes the other's place."""
    if words[:1] == ["other"]:
        return ["prune", "other", *COMMAND[2:]]
    return [*COMMAND, *words]


@pytest.mark.parametrize("change", CHANGES)
def test_a_finished_folder_is_never_taken_for_another_request(capsys, place, change):
    words, do, says = CHANGES[change]
    assert main(COMMAND) == 0
    before = state("pruned")
    assert main([*COMMAND, "--resume"]) == 0 and "nothing was left to do" in capsys.readouterr().out
    if do is not None:
        do()
    assert main([*changed(words), "--resume"]) == 2
    shown = capsys.readouterr()
    assert says in shown.err and len(shown.err.splitlines()) == 1 and "nothing was left" not in shown.out
    assert state("pruned") == before
    assert not (place / "pruned.partial").exists()


def test_a_plan_is_part_of_what_was_asked_for(capsys, place):
    assert main(COMMAND) == 0
    plan_of_its_own()
    base = ["prune", "dense", "--out", "planned", "--dtype", "float32", "--device", "cpu", "--plan"]
    assert main([*base, "plan.json"]) == 0
    capsys.readouterr()
    assert main([*base, "plan.json", "--resume"]) == 0 and "nothing was left" in capsys.readouterr().out
    plan = read_json("plan.json")
    plan["plan"]["projections"][0]["dropped"] -= 1
    write_json("plan2.json", plan)
    assert main([*base, "plan2.json", "--resume"]) == 2 and "plan was " in capsys.readouterr().err
    assert main([*COMMAND[:3], "planned", *COMMAND[4:], "--resume"]) == 2 and "plan was " in capsys.readouterr().err


def test_a_machine_or_library_of_another_kind_is_another_run(capsys, place, monkeypatch):
    assert main(COMMAND) == 0
    record = read_json("pruned/pruning.json")
    assert record["identity"]["versions"]["torch"] == torch.__version__
    record["identity"]["versions"]["torch"] = "1.0"
    write_json("pruned/pruning.json", record)
    assert main([*COMMAND, "--resume"]) == 2 and "versions.torch was 1.0" in capsys.readouterr().err


def test_what_is_kept_of_a_run_is_not_gone_on_with_after_the_text_changed(capsys, place, monkeypatch):
    calls = []
    own = checkpoint.Checkpoint.store

    def stop(*args):
        own(*args)
        calls.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "store", stop)
        assert main(COMMAND) == 1
    capsys.readouterr()
    change_text()
    for words in (["--resume"], ["--resume", "--dry-run"]):
        assert main([*COMMAND, *words]) == 2
        assert "calibration was " in capsys.readouterr().err
    assert calls == [1]


def without_identity(folder):
    record = read_json(folder / "pruning.json")
    del record["identity"]
    write_json(folder / "pruning.json", record)


DAMAGES = {
    "a record of another program": (without_identity, "does not say what it was made of"),
    "weights that are gone": (lambda folder: (folder / "model.safetensors").unlink(), "damaged since"),
    "weights cut off": (lambda folder: os.truncate(folder / "model.safetensors", 500), "damaged since"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_any_more_is_not_finished(capsys, place, damage):
    do, says = DAMAGES[damage]
    assert main(COMMAND) == 0
    do(place / "pruned")
    assert main([*COMMAND, "--resume"]) == 2
    assert says in capsys.readouterr().err


def test_a_packed_copy_is_not_what_plain_pruning_wrote(capsys, place):
    assert main(COMMAND) == 0
    shutil.copytree("pruned", "copy")
    write_json("pruned/packing.json", {})
    assert main([*COMMAND, "--resume"]) == 2
    assert "packed or unpacked after" in capsys.readouterr().err


@pytest.mark.parametrize("dry", [False, True])
def test_the_text_of_a_method_that_reads_none_does_not_matter_but_must_be_there(capsys, place, dry):
    command = [*COMMAND, "--method", "magnitude"]
    assert main(command) == 0
    change_text()
    assert main([*command, "--resume"]) == 0 and "nothing was left" in capsys.readouterr().out
    Path("text.txt").unlink()
    assert main([*command[:3], "new", *command[4:], *["--dry-run"] * dry]) == 2
    assert "There is no file text.txt" in capsys.readouterr().err and not Path("new").exists()


MISSING = {
    "calibration": (["--calibration", "missing.txt"], "no file missing.txt"),
    "broken calibration": (["--calibration", "broken.jsonl"], "broken.jsonl, line 2"),
    "empty calibration": (["--calibration", "empty.txt"], "fewer than 2 tokens"),
    "calibration of a kind": (["--calibration", "text.pdf"], "not a text that can be read here"),
    "plan": (["--plan", "missing.json"], "missing.json does not exist"),
    "model": (["nowhere/"], "no folder nowhere/"),
    "taken destination": (["--out", "other"], "exists already"),
    "destination in a file": (["--out", "text.txt/new"], "is a file"),
    "a name too long": (["--out", "n" * 245], "shorter name"),
    "what is kept of another": (["--out", "begun"], "begun.partial is not an unfinished run"),
}


@pytest.mark.parametrize("case", MISSING)
@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_refuses_what_the_run_would_refuse(capsys, place, monkeypatch, case, dry):
    words, says = MISSING[case]
    Path("broken.jsonl").write_text('{"text": "a line"}\nno line\n')
    Path("empty.txt").write_text(" ")
    Path("text.pdf").write_text("x")
    Path("begun.partial").mkdir()
    Path("begun.partial/notes").write_text("mine")
    before = sorted(str(path) for path in place.rglob("*"))
    command = ["prune", "dense", "--out", "pruned", "--device", "cpu", *["--dry-run"] * dry]
    command = ["prune", *words, *command[2:]] if case == "model" else [*command, *words]
    assert main(command) == 2
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and says in lines[0] and shown.out == ""
    assert sorted(str(path) for path in place.rglob("*")) == before


def test_a_dry_run_finds_a_damaged_dense_model(capsys, place):
    from safetensors.torch import load_file, save_file

    weights = load_file("dense/model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, "dense/model.safetensors", metadata={"format": "pt"})
    assert main([*COMMAND, "--dry-run"]) == 1
    assert "not finite" in capsys.readouterr().err
    assert not Path("pruned").exists()


@pytest.mark.parametrize("out", [".", "text.txt/new", "n" * 245, "round"])
def test_a_destination_is_refused_before_the_model_is_loaded(capsys, place, monkeypatch, out):
    Path("round").symlink_to("round")
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    monkeypatch.setattr("pruning.running.session.load_dense", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr(pipeline, "prune", lambda *_, **__: pytest.fail("work began"))
    capsys.readouterr()
    assert main(["prune", "../dense", "--out", out if out == "." else f"../{out}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("link", ["empty", "nowhere"])
def test_a_link_leads_to_the_result_and_a_killed_run_behind_it_goes_on(capsys, place, monkeypatch, link):
    (place / "disk").mkdir()
    if link == "empty":
        (place / "disk" / link).mkdir()
    (place / "pruned").symlink_to(f"disk/{link}")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, "check_reload", stop)
        assert main(COMMAND) == 1
    assert f"{place / 'disk' / link}.partial" in capsys.readouterr().err
    assert main([*COMMAND, "--resume"]) == 0
    assert (place / "pruned").is_symlink() and (place / "disk" / link / "pruning.json").exists()
    assert [path.name for path in (place / "disk").iterdir()] == [link]
    assert main([*COMMAND, "--resume"]) == 0 and "nothing was left" in capsys.readouterr().out


FULL = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("calls", [1, 2])
def test_a_disk_that_fills_up_is_told_with_what_is_kept(capsys, place, monkeypatch, calls):
    own, seen = checkpoint.save_file, []

    def save(tensors, path, **options):
        seen.append(path)
        if len([name for name in seen if "block" in str(name)]) == calls:
            path.write_bytes(b"half")
            raise FULL
        own(tensors, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", save)
        assert main(COMMAND) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "No space left on device. Free some space" in line
    kept = calls > 1
    assert (f"is kept in {place / 'pruned.partial'}: --resume goes on" in line) == kept
    assert (place / "pruned.partial").exists() == kept
    assert not [path for path in place.rglob("*") if "tmp-" in path.name]
    assert main([*COMMAND, "--resume"]) == 0


@pytest.mark.parametrize(
    "error",
    [FULL, RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 0"), ZeroDivisionError()],
)
@pytest.mark.parametrize("words", [[], ["--structure", "layers", "--sparsity", "0.34"]])
def test_whatever_fails_in_saving_says_what_is_kept(capsys, place, monkeypatch, error, words):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(saving, "check_reload", fail)
        assert main([*COMMAND, *words]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert f"is kept in {place / 'pruned.partial'}: --resume goes on" in line
    assert ("Free some space" in line) != isinstance(error, ZeroDivisionError)
    assert not Path("pruned").exists()
    assert main([*COMMAND, *words, "--resume"]) == 0 and Path("pruned/pruning.json").exists()


@pytest.mark.parametrize("command", ["pack", "unpack"])
@pytest.mark.parametrize("out", ["text.txt/new", "n" * 245])
def test_packing_tries_its_destination_first(capsys, place, monkeypatch, command, out):
    from pruning.packing import pack_command

    monkeypatch.setattr(pack_command, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert main([command, "dense", "--out", out]) == 2
    assert "cannot be" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="limits of files as Linux has them")
def test_a_limit_on_files_is_told_with_its_remedy(place):
    source = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        "from pruning.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [*COMMAND, "--method", "magnitude"]
    done = subprocess.run(
        [sys.executable, "-c", source, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Could not write pruned: File too large" in line and "ulimit -f" in line
    assert not [path for path in place.rglob("*") if "tmp-" in path.name]


def test_the_record_holds_the_identity_as_json(place):
    assert main([*COMMAND, "--json"]) == 0
    found = json.loads(Path("pruned/pruning.json").read_text())["identity"]
    assert found["dense"]["dtype"] == "float32" and found["packed"] is None and found["plan"] is None
    assert found["calibration"] == sha256("text.txt") and found["settings"]["calibration"] == "text.txt"
