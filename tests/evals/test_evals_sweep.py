"""`python -m evals sweep`: real cells through a real kill, and stand-ins of a cell for all that can go wrong."""

import functools
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from rich.console import Console

from evals import __main__ as command_line
from evals import cell, engines
from evals.board import Board, Standing
from evals.engines import local
from evals.grid import Grid
from evals.results import SWEEP, check, read_results
from evals.sweep import sweep
from evals.sweep_plan import Request, make_plan
from models.errors import EspalierError, RequestError
from models.files import read_json
from models.progress import silent

ROOT = Path(__file__).parents[2]
SMALL = ["--samples", "4", "--sequence-length", "32", "--quick", "--dtype", "float32"]
# Kills itself in the middle of a cell, without a word to the cell's process, whose number it prints.
SUICIDE = """
import os, signal, sys
from evals import __main__ as command_line
from evals.engines.local import Local
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


def gone(pid: int) -> bool:
    """Whether a process has ended; one that was killed is given the moment that the system takes."""
    try:
        found = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    if found.status() != psutil.STATUS_ZOMBIE:
        psutil.wait_procs([found], timeout=10)
    return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def model(tiny_folder):
    return tiny_folder("llama")


@pytest.fixture(scope="module")
def killed(model, run_cli, tmp_path_factory):
    """A real sweep that was killed in its last cell, and the same command with --resume: both, the folder, what was whole."""
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
        (name, "done", f"cells/{name}/results.json") for name in ("model_dense", "model_magnitude_0.5", "model_wanda_0.5")
    ]
    assert document["settings"]["methods"] == ["magnitude", "wanda"] and document["command"].endswith("--resume")
    for method in ("magnitude", "wanda"):
        results = read_results(out / "cells" / f"model_{method}_0.5")
        assert [entry["id"] for entry in results["models"]] == ["model", f"model_{method}_0.5"]
        compared = {entry["metric"]: entry for entry in results["results"] if entry["baseline"] == "model"}
        assert compared["perplexity_ratio"]["interval"] and compared["nll_difference"]["interval"]
    assert process.stdout == (out / "report.md").read_text()
    curve = (out / "plots" / "perplexity_sparsity.svg").read_text()
    assert "perplexity_sparsity.png" in process.stdout and all(f"<!-- {word} -->" in curve for word in ("magnitude", "wanda"))


@pytest.fixture
def main(monkeypatch, capfd):
    """Runs the command line in this process: `main(*words) -> (exit code, stdout, stderr)`."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["evals", *map(str, words)])
        try:
            code = command_line.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capfd.readouterr()

    return run


BAD_REQUESTS = {
    "unknown method": (["--methods", "wandah"], "Unknown method 'wandah'"),
    "sparsity out of range": (["--sparsities", "0.5,1.2"], "model_magnitude_1.2: The sparsity must be from 0 to below 1"),
    "sparsity in words": (["--sparsities", "half"], "--sparsities wants fractions such as 0.3,0.5, not 'half'"),
    "no sparsity": (["--sparsities", ""], "fixes no sparsity"),
    "a cell twice": (["--methods", "wanda,wanda"], "asked for twice"),
    "a pair that makes no sense": (["--solvers", "alps"], "The solver alps cannot work with the method magnitude"),
    "unknown metric": (["--metrics", "beauty"], "Unknown metric 'beauty'"),
    "unknown task": (["--tasks", "beauty"], "Unknown task 'beauty'"),
    "missing text": (["--data", "absent.txt"], "no file absent.txt"),
    "missing calibration": (["--calibration", "absent.txt"], "no file absent.txt"),
    "unknown engine": (["--engine", "steam"], "Unknown engine 'steam': use one of local, ray"),
    "no worker": (["--workers", "0"], "--workers must be 1 or more"),
    "times beside each other": (["--metrics", "perplexity,speed", "--workers", "2"], "speed measures times"),
    "an address for nothing": (["--address", "auto"], "or use --engine ray"),
    "no Ray": (["--engine", "ray"], "pip install ray"),
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


def test_help_does_not_wait_for_torch_and_lists_the_engines(run_cli):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "evals", "sweep", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in engines.names():
        assert f"{name:8s}{engines.summary(name)}" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "transformers", "numpy", "rich", "ray", "matplotlib", "pruning"}


# Stands in for `evals.cell`: what it does is told by its sparsity. It writes its name and its process to a log.
STAND_IN = """
import json, os, signal, subprocess, sys
request = json.loads(sys.stdin.readline())
template, log, meeting = sys.argv[1:]
os.chdir(request["workspace"])
name, sparsity = request["name"], (request["pruning"] or {}).get("sparsity")
def note(pid):
    with open(log, "a") as file:
        print(name, pid, os.environ["OMP_NUM_THREADS"], os.path.islink(f"{request['model']}/config.json"), file=file)
note(os.getpid())
if meeting and not request["pruning"]:  # waits for the other model's cell, wherever that runs
    open(meeting, "w" if request["model"] == "model" else "r").close()
print(json.dumps({"fraction": 0.5, "message": "half"}), flush=True)
if sparsity == 0.9:
    os.kill(os.getpid(), signal.SIGKILL)
if sparsity == 0.8:
    print(json.dumps({"error": "Out of memory: use a smaller model."}), flush=True)
    sys.exit(1)
if sparsity == 0.7:
    note(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)
    signal.pause()
if sparsity == 0.6:
    sys.exit("no more luck")
if sparsity == 0.55:
    print(json.dumps({"error": None}), flush=True)
    sys.exit(0)
if request["pruning"]:
    os.mkdir(name)
    open(f"{name}/config.json", "w").write("{}")
document = json.loads(open(template).read().replace("DENSE", request["model"]).replace("PRUNED", name))
if not request["pruning"]:
    document["models"] = document["models"][:1]
    document["results"] = [entry for entry in document["results"] if entry["model"] == request["model"]]
os.makedirs(f"{request['out']}/{request['model']}", exist_ok=True)
open(f"{request['out']}/{request['model']}/samples.jsonl", "w").write("{}")
open(f"{request['out']}/results.json", "w").write(json.dumps(document))
print(json.dumps({"error": None}), flush=True)
"""


class StandIn:
    """Sweeps of stand-ins: `run(...)` gives what came of one, `log` who was started."""

    def __init__(self, place: Path, template: dict, model: Path, monkeypatch):
        self.out, self.reported, self._model = place / "out", [], model
        self._log, self.meeting = place / "log", place / "meeting"
        self._log.touch()
        template = {**template, "models": template["models"][:2]}
        template["models"][1] = template["models"][1] | {"id": "PRUNED"}
        kept = [entry for entry in template["results"] if entry["model"] in ("DENSE", "wanda-30")]
        template["results"] = [entry | {"model": "PRUNED"} if entry["model"] != "DENSE" else entry for entry in kept]
        (place / "template.json").write_text(json.dumps(template))
        self.words = ["-c", STAND_IN, str(place / "template.json"), str(self._log)]
        find = engines.find
        monkeypatch.setattr(engines, "find", lambda name: functools.partial(find(name), program=[*self.words, self._meets]))
        monkeypatch.setattr("evals.sweep.write_report", lambda folders, out: self.reported.append(sorted(folders)))
        self._meets = ""

    def run(self, *sparsities, methods=("magnitude",), models=None, meet=False, keep=False, **options):
        """One sweep; what was logged before is forgotten."""
        self._log.write_text("")
        self._meets = str(self.meeting) if meet else ""
        grid = Grid(methods, sparsities)
        request = Request([str(folder) for folder in models or [self._model]], grid, self.out, keep_models=keep)
        self.shown = options.pop("stream", None) or io.StringIO()
        return sweep(request, stream=self.shown, **options)

    @property
    def log(self):
        """Name, process, threads, and whether its input was a link, of all that was started."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [(name, int(pid), threads, linked == "True") for name, pid, threads, linked in lines]

    @property
    def started(self):
        """The names of all cells that were started."""
        return sorted({name for name, *_ in self.log})

    @property
    def files(self):
        """All that is in the sweep's folder."""
        return sorted(path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file())


@pytest.fixture
def stand_in(tmp_path, model, study, monkeypatch):
    (tmp_path / "place").mkdir()
    return StandIn(tmp_path / "place", study(methods=("wanda",), dense="DENSE", groups=("perplexity",)), model, monkeypatch)


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


def test_failed_cells_are_told_in_one_line_with_exit_1(stand_in, model, main):
    words = ["sweep", model, "--methods", "magnitude", "--sparsities", "0.5,0.8", "--out", stand_in.out, "--json"]
    code, printed, errors = main(*words)
    assert code == 1 and json.loads(printed) == read_json(stand_in.out / "sweep.json")
    line = "1 of 3 cells failed (model_magnitude_0.8: Out of memory: use a smaller model.): the same command with --resume"
    assert line in errors.splitlines()[-1]


def test_without_its_dense_model_no_cell_is_begun(stand_in, monkeypatch, model, tiny_folder):
    other = tiny_folder("llama", seed=1)
    find = engines.find
    failing = STAND_IN.replace("note(os.getpid())", "note(os.getpid())\nif request['model'] == 'model': sys.exit('broken')")
    stand_in.words[1] = failing
    swept = stand_in.run(0.5, models=[model, other])
    assert find is engines.find and len(swept.document["models"]) == 2
    name = swept.document["models"][1]["id"]
    assert [entry["name"] for entry in swept.failed] == ["model_dense", "model_magnitude_0.5"]
    assert "dense model" in swept.failed[1]["error"]
    assert stand_in.started == sorted(["model_dense", f"{name}_dense", f"{name}_magnitude_0.5"])


def test_kept_models_lie_beside_the_cells(stand_in):
    document = stand_in.run(0.5, keep=True).document
    assert [entry["kept"] for entry in document["cells"]] == [None, "models/model_magnitude_0.5"]
    assert "models/model_magnitude_0.5/config.json" in stand_in.files and "/work/" not in " ".join(stand_in.files)
    stand_in.run(0.5, keep=True, resume=True)
    assert stand_in.started == []


def test_workers_share_the_threads_and_work_at_once(stand_in, model, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    os.mkfifo(stand_in.meeting)
    stand_in.run(0.5, models=[model, tiny_folder("llama", seed=1)], meet=True, workers=2)  # ends only if both run at once
    assert len(stand_in.log) == 4
    assert {(threads, linked) for _, _, threads, linked in stand_in.log} == {("3", True)}


def test_several_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in local.environments(3, "auto")] == ["4", "6", "4"]
    assert all("CUDA_VISIBLE_DEVICES" not in each for each in local.environments(1, "auto") + local.environments(2, "cpu"))


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
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines() if "│" in line]
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


def test_ray_runs_cells_on_two_nodes_and_takes_nothing_from_their_disks(stand_in, cluster, model, tiny_folder, monkeypatch):
    from evals.engines.ray import RayTasks

    os.mkfifo(stand_in.meeting)  # a node has one processor, so both dense cells at once are on two
    swept = stand_in.run(
        0.5, 0.9, models=[model, tiny_folder("llama", seed=1)], meet=True, keep=True, engine="ray", address=cluster.address
    )
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
        stand_in.run(0.7, resume=True, engine="ray", address=cluster.address)
    assert len(stand_in.log) == 2 and all(gone(pid) for _, pid, *_ in stand_in.log)
    assert not [file for file in stand_in.files if "0.7" in file]


def test_what_ray_carries_needs_no_package_of_ours():
    ray = pytest.importorskip("ray")
    from evals.engines.ray import carried

    code = ray.cloudpickle.dumps(carried(ray))
    script = "import sys; from ray import cloudpickle; cloudpickle.loads(sys.stdin.buffer.read()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], input=code, capture_output=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert not {"evals", "models", "pruning", "torch"} & set(done.stdout.decode().split())
