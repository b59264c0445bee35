"""The cells of a sweep as they go through an engine: what fails, what is interrupted, what is shown, where they run."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from evals import __main__ as command_line
from evals.runs.results import read_results
from evals.sweeping.board import Board, Standing
from evals.sweeping.engines import local
from evals.sweeping.grid import Grid
from models.errors import EspalierError, RequestError
from models.storage.files import read_json
from tests.evals.stand_in import STAND_IN, StandIn, gone


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture
def stand_in(tmp_path, model, study, monkeypatch):
    (tmp_path / "place").mkdir()
    template = study(methods=("wanda",), dense="DENSE", groups=("perplexity",))
    return StandIn(tmp_path / "place", template, model, monkeypatch)


def test_a_cell_that_fails_ends_alone_and_is_tried_again(stand_in):
    swept = stand_in.run(0.3, 0.55, 0.6, 0.8, 0.9, 0.5)
    errors = {entry["name"]: entry["error"] for entry in swept.failed}
    assert errors == {
        "model_magnitude_0.55": "it left no whole results",
        "model_magnitude_0.6": "its process ended with code 1 (no more luck)",
        "model_magnitude_0.8": "Out of memory: use a smaller model.",
        "model_magnitude_0.9": "its process was killed, most often for lack of memory",
    }
    whole = ["model_dense", "model_magnitude_0.3", "model_magnitude_0.5"]
    assert stand_in.reported == [[stand_in.out / "cells" / name for name in whole]]
    assert [path.name for path in sorted((stand_in.out / "cells").iterdir())] == whole
    lines = stand_in.shown.getvalue().splitlines()
    assert len(lines) == 7 and lines[-1].startswith("7 of 7 cells, 4 failed: model_magnitude_0.5: perplexity")
    assert any(line.endswith("model_magnitude_0.8: failed: Out of memory: use a smaller model.") for line in lines)
    again = stand_in.run(0.3, 0.4, 0.8, resume=True)
    assert stand_in.started == ["model_magnitude_0.4", "model_magnitude_0.8"]
    assert [entry["state"] for entry in again.document["cells"]] == ["done", "done", "done", "failed"]


def test_failed_cells_are_told_in_one_line_with_exit_1(stand_in, model, monkeypatch, capfd):
    words = ["sweep", model, "--methods", "magnitude", "--sparsities", "0.5,0.8", "--out", stand_in.out, "--json"]
    stand_in.prepare()
    monkeypatch.setattr(sys, "argv", ["evals", *map(str, words)])
    assert command_line.main() == 1
    printed, errors = capfd.readouterr()
    assert json.loads(printed) == read_json(stand_in.out / "sweep.json")
    line = "1 of 3 cells failed (model_magnitude_0.8: Out of memory: use a smaller model.): the same command with"
    assert line in errors.splitlines()[-1]


def test_without_its_dense_model_no_cell_is_begun(stand_in, model, tiny_folder):
    broken = "note(os.getpid())\nif request['model'] == 'model': sys.exit('broken')"
    stand_in.words[1] = STAND_IN.replace("note(os.getpid())", broken)
    swept = stand_in.run(0.5, models=[model, tiny_folder("llama", seed=1)])
    name = swept.document["models"][1]["id"]
    assert [entry["name"] for entry in swept.failed] == ["model_dense", "model_magnitude_0.5"]
    assert "dense model" in swept.failed[1]["error"]
    assert stand_in.started == sorted(["model_dense", f"{name}_dense", f"{name}_magnitude_0.5"])


def test_cells_that_cannot_be_compared_are_kept_without_a_report(stand_in, monkeypatch):
    def refuse(folders, out):
        raise RequestError("two machines")

    monkeypatch.setattr("evals.sweeping.sweep.write_report", refuse)
    with pytest.raises(EspalierError, match="they make no report: two machines") as error:
        stand_in.run(0.5)
    assert error.value.exit_code == 1 and (stand_in.out / "sweep.json").exists()


def test_kept_models_lie_beside_the_cells(stand_in):
    document = stand_in.run(0.5, keep=True).document
    assert [entry["kept"] for entry in document["cells"]] == [None, "models/model_magnitude_0.5"]
    assert "models/model_magnitude_0.5/config.json" in stand_in.files and "/work/" not in " ".join(stand_in.files)
    stand_in.run(0.5, keep=True, resume=True)
    assert stand_in.started == []


def test_workers_share_the_threads_and_work_at_once(stand_in, model, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    os.mkfifo(stand_in.meeting)
    models = [model, tiny_folder("llama", seed=1)]
    stand_in.run(0.5, models=models, meet=True, workers=2)  # ends only if both dense cells run at once
    assert len(stand_in.log) == 4
    assert {(threads, linked) for _, _, threads, linked in stand_in.log} == {("3", True)}


def test_several_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in local.environments(3, "auto")] == ["4", "6", "4"]
    alone = local.environments(1, "auto") + local.environments(2, "cpu")
    assert all("CUDA_VISIBLE_DEVICES" not in each for each in alone)


def test_ctrl_c_ends_the_children_and_leaves_nothing_half_written(stand_in, monkeypatch):
    ended = local.Local.ended

    def interrupt(self, patience):
        found = ended(self, patience)
        if len([name for name, *_ in stand_in.log if name == "model_magnitude_0.7"]) == 2:  # it, and what it started
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(local.Local, "ended", interrupt)
        with pytest.raises(EspalierError, match="Interrupted: 2 of 4 cells are whole") as interrupted:
            stand_in.run(0.3, 0.7, 0.5)
    assert interrupted.value.exit_code == 1
    assert all(gone(pid) for _, pid, *_ in stand_in.log)
    assert {Path(file).parts[1] for file in stand_in.files} == {"model_dense", "model_magnitude_0.3"}
    stand_in.run(0.3, 0.5, resume=True)
    assert stand_in.started == ["model_magnitude_0.5"]


def test_ctrl_c_before_anything_is_whole_leaves_nothing(stand_in, monkeypatch):
    def interrupt(self, patience):
        raise KeyboardInterrupt

    monkeypatch.setattr(local.Local, "ended", interrupt)
    with pytest.raises(EspalierError, match="0 of 2 cells"):
        stand_in.run(0.5)
    assert not stand_in.out.exists()


def test_two_sweeps_in_one_folder_are_refused(stand_in, monkeypatch):
    ended, found = local.Local.ended, []

    def second(self, patience):
        if not found:
            found.append(True)
            with pytest.raises(RequestError, match="Another sweep is at work"):
                stand_in.run(0.5, resume=True)
        return ended(self, patience)

    monkeypatch.setattr(local.Local, "ended", second)
    assert not stand_in.run(0.5).failed and found


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_table_that_lives(stand_in, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    stand_in.run(0.3, 0.5, 0.8, stream=terminal)
    shown = terminal.getvalue()
    assert "\x1b[" in shown and "4 of 4 cells, 1 failed" in shown and "perplexity by sparsity" in shown
    last = shown[shown.rindex("by sparsity") :]
    assert "magnitude" in last and "failed" in last and "±" in last


def test_the_table_has_a_row_a_recipe_and_a_column_a_sparsity():
    cells = Grid(["wanda"], [0.3, 0.5], solvers=["none", "sparsegpt"]).cells(["a", "b"])
    standings = {each.name: Standing() for each in cells}
    standings["a_dense"] = Standing("done", figure="39.5 ± 2.1")
    standings["a_wanda_0.5"] = Standing("running", 0.35)
    standings["b_dense"] = Standing("failed", error="broken")
    board = Board(cells, io.StringIO())
    console = Console(file=io.StringIO(), width=100)
    console.print(board.table(standings, 320))
    lines = [line for line in console.file.getvalue().splitlines() if "│" in line]
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in lines]
    assert rows == [
        ["a", "dense", "39.5 ± 2.1", "", ""],
        ["a", "wanda", "", "waiting", "running 35 %"],
        ["a", "wanda, sparsegpt", "", "waiting", "waiting"],
        ["b", "dense", "failed", "", ""],
        ["b", "wanda", "", "waiting", "waiting"],
        ["b", "wanda, sparsegpt", "", "waiting", "waiting"],
    ]
    assert "2 of 10 cells, 1 failed, 5 min 20 s left" in console.file.getvalue()


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two nodes with one processor each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


@pytest.mark.slow
def test_ray_runs_cells_on_two_nodes_that_share_no_disk(stand_in, cluster, model, tiny_folder, monkeypatch):
    from evals.sweeping.engines.ray import RayTasks

    os.mkfifo(stand_in.meeting)  # a node has one processor, so both dense cells at once are on two
    where = {"engine": "ray", "address": cluster.address}
    swept = stand_in.run(0.5, 0.9, models=[model, tiny_folder("llama", seed=1)], meet=True, keep=True, **where)
    assert [entry["error"] for entry in swept.failed] == ["its process was killed, most often for lack of memory"] * 2
    name = swept.document["models"][1]["id"]
    assert {(threads, linked) for _, _, threads, linked in stand_in.log} == {("1", False)}  # copies of their own
    assert read_results(stand_in.out / "cells" / "model_magnitude_0.5")["models"][1]["id"] == "model_magnitude_0.5"
    assert {f"models/{each}_magnitude_0.5/config.json" for each in ("model", name)} <= set(stand_in.files)
    assert "cells/model_dense/model/samples.jsonl" in stand_in.files

    ended = RayTasks.ended

    def interrupt(self, patience):
        found = ended(self, patience)
        if len(stand_in.log) == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(RayTasks, "ended", interrupt)
    with pytest.raises(EspalierError, match="Interrupted"):
        stand_in.run(0.7, resume=True, **where)
    assert len(stand_in.log) == 2 and all(gone(pid) for _, pid, *_ in stand_in.log)
    assert not [file for file in stand_in.files if "0.7" in file]


def test_what_ray_carries_needs_no_package_of_ours():
    ray = pytest.importorskip("ray")
    from evals.sweeping.engines.ray import carried

    code = ray.cloudpickle.dumps(carried(ray))
    script = "import sys; from ray import cloudpickle; cloudpickle.loads(sys.stdin.buffer.read()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], input=code, capture_output=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert not {"evals", "models", "pruning", "torch"} & set(done.stdout.decode().split())
