"""Sweeps of stand-ins: processes that do in a moment what a cell does, or fail as one can."""

import functools
import io
import json
from pathlib import Path

import psutil

from evals.sweeping import engines
from evals.sweeping.grid import Grid
from evals.sweeping.sweep import sweep
from evals.sweeping.sweep_plan import Request

# Stands in for `evals.sweeping.cell`: what it does is told by its sparsity. It writes its name and its process to a log.
STAND_IN = """
import json, os, shutil, signal, subprocess, sys, threading
request = json.loads(sys.stdin.readline())
def end_with_the_parent():
    while os.read(0, 1024):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
threading.Thread(target=end_with_the_parent, daemon=True).start()
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
    open(f"{name}/pruning.json", "w").write(json.dumps({"identity": request["identity"]}))
    shutil.copyfile(f"{request['model']}/model.safetensors", f"{name}/model.safetensors")
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
        monkeypatch.setattr(engines, "find", lambda name: functools.partial(find(name), program=self._program))
        monkeypatch.setattr(
            "evals.sweeping.sweep.write_report", lambda folders, out: self.reported.append(sorted(folders))
        )
        self._program: list[str] = []

    def run(self, *sparsities, methods=("magnitude",), models=None, meet=False, keep=False, **options):
        """One sweep; what was logged before is forgotten. With `meet` two dense cells wait for each other."""
        self.prepare(meet)
        grid = Grid(methods, sparsities)
        request = Request([str(folder) for folder in models or [self._model]], grid, self.out, keep_models=keep)
        self.shown = options.pop("stream", None) or io.StringIO()
        return sweep(request, stream=self.shown, **options)

    def prepare(self, meet=False):
        """Makes ready for another sweep."""
        self._log.write_text("")
        self._program = [*self.words, str(self.meeting) if meet else ""]

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


def gone(pid: int) -> bool:
    """Whether a process has ended; one that was killed is given the moment that the system takes."""
    try:
        found = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    if found.status() != psutil.STATUS_ZOMBIE:
        psutil.wait_procs([found], timeout=60)
    return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
