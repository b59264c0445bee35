"""`python -m evals sweep`: real cells through a real kill, and stand-ins of a cell for all that can go wrong."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evals.runs.results import SWEEP, check, read_results
from evals.sweeping import cell, engines
from evals.sweeping.engines import local
from evals.sweeping.grid import Grid
from evals.sweeping.sweep_plan import Request, make_plan
from models.console.progress import silent
from models.errors import RequestError
from models.storage.files import read_json
from tests.evals.stand_in import gone

ROOT = Path(__file__).parents[2]
SMALL = ["--samples", "4", "--sequence-length", "32", "--quick", "--dtype", "float32"]
# Kills itself in the middle of a cell, without a word to the cell's process, whose number it prints.
SUICIDE = """
import os, signal, sys
from evals import __main__ as command_line
from evals.sweeping.engines.local import Local
submit, name = Local.submit, sys.argv[1]
def deadly(self, job):
    submit(self, job)
    if job.name == name:
        process = self._running[name][1]
        while not process.fraction:
            assert not process.wait(0.01)
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
Local.submit = deadly
sys.argv = ["evals", *sys.argv[2:]]
command_line.main()
"""


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture(scope="module")
def killed(model, run_cli, tmp_path_factory):
    """A real sweep that was killed in its last cell, the same with --resume, the folder, and what was whole between."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    words = ["sweep", model, "--methods", "magnitude,wanda", "--sparsities", "0.5", *SMALL, "--out", out]
    first = subprocess.run(
        [sys.executable, "-c", SUICIDE, "model_wanda_0.5", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    whole = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.is_file()}
    return first, run_cli("evals", *words, "--resume"), out, whole


def test_a_killed_sweep_takes_its_cell_with_it_and_goes_on(killed):
    first, second, out, before = killed
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert gone(int(first.stdout))
    finished = {file.parent.name for file in before if file.name == "results.json"}
    assert finished == {"model_dense", "model_magnitude_0.5"} and out / "sweep.json" not in before
    assert second.returncode == 0, second.stderr
    told = [line for line in second.stderr.splitlines() if " of 3 cells" in line]
    assert len(told) == 1 and "3 of 3 cells: model_wanda_0.5: perplexity" in told[0]
    for file, when in before.items():
        if file.parent.name in finished:
            assert file.stat().st_mtime_ns == when  # not measured again
    assert sorted(path.name for path in out.iterdir()) == ["cells", "plots", "report.md", "results.csv", "sweep.json"]
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.name == "work"]


def test_the_numbers_are_those_of_a_cell_that_nobody_disturbed(killed, model, tmp_path, monkeypatch):
    request = Request([str(model)], Grid(["wanda"], [0.5], samples=4, sequence_length=32), tmp_path / "out", quick=True)
    planned = make_plan(replace(request, dtype="float32"), False, "again").planned[1]
    monkeypatch.chdir(tmp_path)
    local.link(planned.job.inputs, tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cell.measure(planned.job.request | {"out": "alone"}, silent)
    finally:
        torch.set_num_threads(threads)
    resumed = read_results(killed[2] / "cells" / "model_wanda_0.5")
    assert read_results(tmp_path / "alone")["results"] == resumed["results"]
    assert resumed["models"][1]["pruning"]["method"] == "wanda"


def test_a_sweep_leaves_paired_results_a_list_and_a_report_with_its_curve(killed):
    _, process, out, _ = killed
    document = read_json(out / "sweep.json")
    check(document, SWEEP, "sweep.json")
    assert [(entry["name"], entry["state"], entry["results"]) for entry in document["cells"]] == [
        (name, "done", f"cells/{name}/results.json")
        for name in ("model_dense", "model_magnitude_0.5", "model_wanda_0.5")
    ]
    assert document["settings"]["methods"] == ["magnitude", "wanda"] and document["command"].endswith("--resume")
    for method in ("magnitude", "wanda"):
        results = read_results(out / "cells" / f"model_{method}_0.5")
        assert [entry["id"] for entry in results["models"]] == ["model", f"model_{method}_0.5"]
        compared = {entry["metric"]: entry for entry in results["results"] if entry["baseline"] == "model"}
        assert compared["perplexity_ratio"]["interval"] and compared["nll_difference"]["interval"]
    assert process.stdout == (out / "report.md").read_text()
    curve = (out / "plots" / "perplexity_sparsity.svg").read_text()
    assert "perplexity_sparsity.png" in process.stdout
    assert all(f"<!-- {word} -->" in curve for word in ("magnitude", "wanda"))


BAD_REQUESTS = {
    "unknown method": (["--methods", "wandah"], "Unknown method 'wandah'"),
    "sparsity out of range": (["--sparsities", "0.5,1.2"], "model_magnitude_1.2: The sparsity must be"),
    "sparsity in words": (["--sparsities", "half"], "--sparsities wants fractions such as 0.3,0.5, not 'half'"),
    "no sparsity": (["--sparsities", ""], "fixes no sparsity"),
    "a cell twice": (["--methods", "wanda,wanda"], "asked for twice"),
    "a pair that makes no sense": (["--solvers", "alps"], "The solver alps cannot work with the method magnitude"),
    "unknown metric": (["--metrics", "beauty"], "Unknown metric 'beauty'"),
    "unknown task": (["--tasks", "beauty"], "Unknown task 'beauty'"),
    "missing text": (["--data", "absent.txt"], "no file absent.txt"),
    "missing calibration": (["--calibration", "absent.txt"], "no file absent.txt"),
    "unknown part": (["--calibration", "embedded:poems"], "name some of prose, facts, code, chat"),
    "columns for nothing": (["--calibration-columns", "text"], "embedded has no columns"),
    "columns twice": (["--calibration-columns", "text,text"], "each once"),
    "unknown engine": (["--engine", "steam"], "Unknown engine 'steam': use one of local, ray"),
    "no worker": (["--workers", "0"], "--workers must be 1 or more"),
    "times beside each other": (["--metrics", "perplexity,speed", "--workers", "2"], "speed measures times"),
    "an address for nothing": (["--address", "auto"], "or use --engine ray"),
    "no Ray": (["--engine", "ray"], "pip install ray"),
    "unknown device": (["--device", "tpu"], "Unknown device 'tpu'"),
    "unknown dtype": (["--dtype", "int3"], "Unknown dtype 'int3'"),
    "unknown protocol": (["--protocol", "guess"], "Unknown perplexity protocol 'guess'"),
    "no limit": (["--limit", "0"], "The limit must be 1 row or more"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_one_line_exit_2_and_nothing_written(case, model, tmp_path, main, monkeypatch):
    words, line = BAD_REQUESTS[case]
    monkeypatch.setitem(sys.modules, "ray", None)
    good = ["--methods", "magnitude", "--sparsities", "0.5"]
    code, printed, errors = main("sweep", model, *good, *words, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert line in errors and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_models_and_folders_are_checked_before_anything_is_written(model, killed, tmp_path, main):
    good = ["--methods", "magnitude", "--sparsities", "0.5", *SMALL]
    for models, line in (([model, "/no/such/folder"], "There is no folder"), ([model, model], "named twice")):
        code, _, errors = main("sweep", *models, *good, "--out", tmp_path / "out")
        assert code == 2 and line in errors and errors.count("\n") == 1
    (tmp_path / "file").write_text("x")
    assert "is a file" in main("sweep", model, *good, "--out", tmp_path / "file")[2]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    before = {file: file.stat().st_mtime_ns for file in killed[2].rglob("*")}
    code, _, errors = main("sweep", model, *good, "--out", killed[2])
    assert code == 2 and "holds a sweep already: add --resume" in errors
    code, _, errors = main("sweep", model, *good, "--sequence-length", "64", "--resume", "--out", killed[2])
    assert code == 2 and "pruning.sequence_length was 32 and is 64" in errors
    assert {file: file.stat().st_mtime_ns for file in killed[2].rglob("*")} == before


def test_the_columns_of_the_calibration_text_reach_every_cell(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"title": "One", "body": "Two"}\n' * 50)
    grid = Grid(["wanda"], [0.5], calibration="rows.jsonl", columns="title,body")
    request = Request([str(model)], grid, Path("out"))
    dense, pruned = make_plan(request, False, "").planned
    assert pruned.job.request["pruning"]["columns"] == "title,body" and dense.settings["calibration"] is None
    assert pruned.settings["calibration"].endswith(", columns title, body")
    for columns, says in ((None, "the keys title, body, .*--calibration-columns"), ("title,text", "no column `text`")):
        with pytest.raises(RequestError, match=f"rows.jsonl, line 1 has {says}"):
            make_plan(replace(request, grid=replace(grid, columns=columns)), False, "")


def test_cells_read_copies_of_what_was_named_and_nothing_else(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("calm.txt", "prose.txt"):
        (tmp_path / name).write_text("The gardener ties the branches to the wall. " * 50)
    (tmp_path / "moods.jsonl").write_text('{"text": "good", "label": "a"}\n{"text": "bad", "label": "b"}\n')
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "rows.csv").write_text("text,label\ngood,a\nbad,b\n")
    (tmp_path / "sets" / "other.csv").write_text("not named")
    labels = "data: {file: rows.csv}\nprompt: '{text}'\nlabel: label\nchoices: {a: ' a', b: ' b'}"
    (tmp_path / "own.yaml").write_text(f"summary: mine\nmetric: classification\n{labels}\n")
    grid = Grid(["wanda"], [0.5], calibration="calm.txt")
    tasks = ["moods.jsonl", "own.yaml"]
    request = Request([str(model)], grid, Path("out"), tasks=tasks, source="sets", data="./prose.txt")
    dense, pruned = make_plan(request, False, "").planned
    named = {"prose.txt", "moods.jsonl", "own.yaml", "sets/rows.csv"}
    assert {name for name in dense.job.inputs if not name.startswith("model/")} == named
    assert pruned.job.inputs.keys() == dense.job.inputs.keys() | {"calm.txt"}
    assert {"model/config.json", "model/model.safetensors", "model/tokenizer.json"} < dense.job.inputs.keys()
    assert pruned.job.request["pruning"]["calibration"] == "calm.txt"
    asked = pruned.job.request["evaluation"]
    assert (asked["tasks"], asked["source"], asked["data"]) == (tasks, "sets", "prose.txt")
    assert all(place.is_absolute() and place.is_file() for place in pruned.job.inputs.values())
    (tmp_path / "sets" / "rows.csv").write_text("text,label\ngood,a\nbad,b\nfine,a\n")
    assert make_plan(request, False, "").planned[0].settings != dense.settings
    assert not (tmp_path / "out").exists()


def test_help_does_not_wait_for_torch_and_lists_the_engines(run_cli):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "evals", "sweep", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in engines.names():
        assert f"{name:8s}{engines.summary(name)}" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "transformers", "numpy", "rich", "ray", "matplotlib", "pruning"}
