"""A killed run and `--resume`: the same bytes as a run that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from models.storage.files import sha256
from pruning.commands.cli import main
from pruning.saved import checkpoint, saving

ROOT = Path(__file__).parents[2]
QUICK = ["--samples", "4", "--sequence-length", "32", "--device", "cpu", "--dtype", "float32"]
SETTINGS = {
    "wanda": ["--method", "wanda"],
    "by outliers": ["--method", "wanda", "--allocation", "owl"],
    "refit in steps": ["--solver", "refit", "--schedule", "gradual"],
    "refit, reordered": ["--solver", "refit", "--pattern", "2:4:permuted"],
    "taylor": ["--method", "taylor"],
    "fisher and exchange": ["--method", "fisher", "--solver", "exchange", "--pattern", "unstructured:global"],
    "gradients for the shares alone": ["--method", "obs", "--solver", "exchange", "--allocation", "error-curves"],
    "magnitude": ["--method", "magnitude", "--sparsity", "0.3"],
    "reconstructed and distilled": ["--recover", "reconstruct+distill"],
    "layers": ["--structure", "layers", "--sparsity", "0.34"],
}
# Ends its own process where it is told to: at the n-th call of a function, before or after that has run.
SUICIDE = """
import os, signal, sys
from transformers import PreTrainedModel
from pruning.saved import checkpoint, saving
from pruning.commands.cli import main
holder = {"Checkpoint": checkpoint.Checkpoint, "PreTrainedModel": PreTrainedModel}[sys.argv[1]]
name, calls, first = sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
own, seen = getattr(holder, name), []
def deadly(*args, **kwargs):
    seen.append(name)
    if first:
        own(*args, **kwargs)
    if len(seen) == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    if not first:
        return own(*args, **kwargs)
setattr(holder, name, deadly)
main(sys.argv[5:])
"""


class Killed(BaseException):
    """Stops a run in this process as no handler expects it."""


@pytest.fixture(autouse=True)
def trusting(monkeypatch):
    """The reload check has tests of its own and a process of its own."""
    monkeypatch.setattr(saving, "check_reload", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tiny_folder):
    return tiny_folder("llama")


def weights(out) -> str:
    return sha256(out / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """The weights of a run on one thread, as the child processes have it, that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "whole"
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "check_reload", lambda *_: None)
        assert main(["prune", str(folder), *QUICK, "--out", str(out)]) == 0
    return weights(out)


@contextmanager
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def kill_at(monkeypatch, holder, name: str, calls: int) -> None:
    own, seen = getattr(holder, name), []

    def deadly(*args, **kwargs):
        seen.append(name)
        if len(seen) == calls:
            raise Killed
        return own(*args, **kwargs)

    monkeypatch.setattr(holder, name, deadly)


@pytest.mark.parametrize(
    "death",
    [
        ("Checkpoint", "store", 2, "after"),
        ("PreTrainedModel", "save_pretrained", 1, "after"),
        ("Checkpoint", "close", 1, "before"),
    ],
)
def test_a_process_that_was_killed_is_gone_on_with(capsys, folder, undisturbed, tmp_path, death):
    out = tmp_path / "pruned"
    command = ["prune", str(folder), *QUICK]
    child = subprocess.run(
        [sys.executable, "-c", SUICIDE, *map(str, death), *command, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert "pruned.partial" in names and ("pruned" in names) == (death[1] == "close")
    assert main([*command, "--out", str(out)]) == 2
    assert ("exists already" if "pruned" in names else "--resume") in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == names

    with one_thread():
        assert main([*command, "--out", str(out), "--resume"]) == 0, capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]
    assert weights(out) == undisturbed


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_wherever_it_stops_the_weights_end_the_same(monkeypatch, folder, tmp_path, settings, dtype):
    command = ["prune", str(folder), *QUICK, *SETTINGS[settings], "--dtype", dtype]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    deaths = [(checkpoint, "write_json", 1), (checkpoint, "write_json", 2), (saving, "write_json", 1)]
    if settings != "layers":
        deaths += [(checkpoint.Checkpoint, "store", block) for block in (1, 2, 3)]
    for number, death in enumerate(deaths):
        out = tmp_path / str(number)
        with monkeypatch.context() as patch:
            kill_at(patch, *death)
            with pytest.raises(Killed):
                main([*command, "--out", str(out)])
        assert main([*command, "--out", str(out), "--resume"]) == 0
        assert weights(out) == weights(tmp_path / "whole")
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name or path.name.startswith(".")]


def test_what_is_done_is_not_done_again(monkeypatch, capsys, folder, tmp_path):
    from pruning import pipeline, sharing
    from pruning.structures import none

    command = ["prune", str(folder), *QUICK, *SETTINGS["by outliers"], "--out", str(tmp_path / "pruned")]
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint.Checkpoint, "store", 3)
        with pytest.raises(Killed):
            main(command)
    solved = []
    own = none.solve
    monkeypatch.setattr(none, "solve", lambda *args: solved.append(1) or own(*args))
    for holder, name in ((sharing, "take_measures"), (pipeline, "calibration_windows"), (pipeline, "dense_perplexity")):
        kill_at(monkeypatch, holder, name, 1)
    assert main([*command, "--resume", "--json"]) == 0
    assert len(solved) == 7  # of the last block
    report = json.loads(capsys.readouterr().out)
    assert report["dense_perplexity"] > 1 and report["calibration"]["windows"] == 4
    assert all(entry["mask_sha256"] for entry in report["plan"]["projections"])


def test_another_request_is_refused_and_named(monkeypatch, capsys, folder, tmp_path):
    out = str(tmp_path / "pruned")
    command = ["prune", str(folder), *QUICK, "--out", out, "--resume"]
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint.Checkpoint, "store", 2)
        with pytest.raises(Killed):
            main(command)
    kept = {path.name: sha256(path) for path in (tmp_path / "pruned.partial").iterdir()}
    assert main([*command, "--sparsity", "0.6", "--seed", "1"]) == 2
    said = capsys.readouterr().err
    assert "settings.sparsity was 0.5 and is 0.6" in said and "settings.seed was 0 and is 1" in said
    assert main(["prune", "embedded", *command[2:]]) == 2
    assert "dense.revision" in capsys.readouterr().err
    assert {path.name: sha256(path) for path in (tmp_path / "pruned.partial").iterdir()} == kept


def test_a_finished_run_is_left_alone(capsys, folder, tmp_path):
    command = ["prune", str(folder), *QUICK, "--out", str(tmp_path / "pruned"), "--resume"]
    assert main([*command, "--json"]) == 0  # with nothing begun, --resume begins
    first = json.loads(capsys.readouterr().out)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pruned").iterdir()}
    assert main(command) == 0 and "is complete" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert {name: again[name] for name in first} == first
    assert main([*command, "--sparsity", "0.6"]) == 2
    assert "settings.sparsity was 0.5 and is 0.6" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pruned").iterdir()} == kept


def test_a_folder_of_someone_else_is_not_touched(capsys, folder, tmp_path):
    (tmp_path / "pruned.partial").mkdir()
    (tmp_path / "pruned.partial" / "notes.txt").write_text("mine")
    command = ["prune", str(folder), *QUICK, "--out", str(tmp_path / "pruned")]
    for options in ([], ["--resume"]):
        assert main([*command, *options]) == 2
        assert "pruned.partial" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "pruned.partial").iterdir()] == ["notes.txt"]


def test_a_damaged_block_is_named(monkeypatch, capsys, folder, tmp_path):
    command = ["prune", str(folder), *QUICK, "--out", str(tmp_path / "pruned")]
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint.Checkpoint, "store", 2)
        with pytest.raises(Killed):
            main(command)
    block = tmp_path / "pruned.partial" / "block-0000.safetensors"
    block.write_bytes(block.read_bytes()[:100])
    assert main([*command, "--resume"]) == 1
    said = capsys.readouterr().err
    assert "block-0000.safetensors is damaged" in said
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_says_what_it_kept(monkeypatch, capsys, folder, tmp_path, error):
    command = ["prune", str(folder), *QUICK, "--out", str(tmp_path / "pruned")]
    for finished in (0, 1):
        calls = []

        def fail(*args, own=checkpoint.Checkpoint.store, calls=calls, finished=finished):
            calls.append(1)
            if len(calls) > finished:
                raise error
            own(*args)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.Checkpoint, "store", fail)
            assert main(command) == 1
        said = capsys.readouterr().err
        assert ("--resume goes on" in said) == bool(finished)
        assert (tmp_path / "pruned.partial").exists() == bool(finished)
    assert main([*command, "--resume"]) == 0
