"""Cells as tasks of a Ray cluster (Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications").

The machines need share no disk. Every cell is sent what it reads by content, through Ray's object store: the packages
of Espalier, the folder of its model, the texts and the tasks' data; it works in a temporary folder of its machine, and
its results (and its model, with --keep-models) come back by content too. What all machines must have is the same
Python with the same libraries installed; a cell that finds other versions of torch, transformers or tokenizers fails
and says so. A model named by a Hub id is fetched by each machine for itself, from the Hub or its own cache.
"""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from evals.sweeping import cell_process
from evals.sweeping.cell_process import PROGRAM, CellProcess
from evals.sweeping.engines import Ended, Job, engine
from models.errors import EspalierError, RequestError, first_line
from models.storage.files import new_file, new_folder

ROOT = Path(__file__).parents[3]
PACKAGES = ("models", "training", "pruning", "evals")  # a cell imports nothing of the floors above
GRACE = 10  # seconds that cancelled tasks have to end their processes
TRIES = 3  # at most, of cancelling a task, in that time
Content = dict[str, Any]  # the bytes of files, or references to them in the object store, by their relative paths


@engine("ray")
class RayTasks:
    """Tasks of a Ray cluster (pip install ray): one that is running (--address), else one that is started here."""

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        device: str = "auto",
        program: Sequence[str] = PROGRAM,
    ):
        self._ray = _imported()
        self._program = program
        self._sent: dict[Path, Any] = {}
        self._running: dict[Any, Job] = {}
        self._began = not self._ray.is_initialized()
        if self._began:
            _connect(self._ray, address)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if not nodes:
            self.close()
            raise RequestError("The Ray cluster has no machine with a CPU for tasks: start one with `ray start`.")
        cards = int(sum(node.get("GPU", 0) for node in nodes)) if device != "cpu" else 0
        self.workers = workers or cards or len(nodes)
        share = sum(node["CPU"] for node in nodes) // self.workers
        self._threads = max(1, int(min(share, *(node["CPU"] for node in nodes))))
        self.alone = all(node["CPU"] < 2 * self._threads for node in nodes)
        self._task = self._ray.remote(carried(self._ray)).options(
            num_cpus=self._threads, num_gpus=1 if cards else 0, max_retries=0
        )
        self._packages = {f"{name}/{path}": self._put(file) for name in PACKAGES for path, file in _code(ROOT / name)}

    def submit(self, job: Job) -> None:
        """Sends a job to the cluster, which starts it where there is room."""
        shutil.rmtree(job.workspace, ignore_errors=True)  # of a killed process of this machine
        inputs = {inside: self._put(file) for inside, file in job.inputs.items()}
        task = self._task.remote(self._packages, inputs, job.request, self._threads, job.keep, self._program)
        self._running[task] = job

    def ended(self, patience: float) -> list[Ended]:
        """The jobs that ended, their results fetched."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=patience)
        return [Ended(job.name, self._fetch(task, job)) for task in ready if (job := self._running.pop(task))]

    def fractions(self) -> dict[str, float]:
        """Nothing: the machines tell when they are done."""
        return {}

    def close(self) -> None:
        """Cancels the tasks, which end their processes, and leaves the cluster as it was found."""
        stubborn = list(self._running)
        for _ in range(TRIES):  # an interrupt that comes while Python runs a finaliser is lost
            for task in stubborn:
                self._ray.cancel(task, force=False)
            if stubborn:
                _, stubborn = self._ray.wait(stubborn, num_returns=len(stubborn), timeout=GRACE / TRIES)
        for task in stubborn:
            self._ray.cancel(task, force=True)  # what its process started outlives it
        self._running.clear()
        self._sent.clear()
        if self._began:
            self._ray.shutdown()

    def _put(self, file: Path) -> Any:
        if file not in self._sent:
            self._sent[file] = self._ray.put(np.fromfile(file, dtype=np.uint8))
        return self._sent[file]

    def _fetch(self, task: Any, job: Job) -> str | None:
        try:
            error, results, model = self._ray.get(task)
        except self._ray.exceptions.RayError as failure:
            return f"Ray lost it: {first_line(getattr(failure, 'cause', None) or failure)}"
        if error is None and model is not None:
            with new_folder(job.workspace / job.name) as folder:
                write_content(model, folder)
        # results.json last: a folder that holds it is whole.
        for path in sorted(results, key=lambda path: path == "results.json"):
            with new_file(job.folder / path) as file:
                results[path].tofile(file)
        return error


def carried(ray: ModuleType) -> Callable:
    """`run_cell`, which is from now on sent with all that it uses: the machines have no package before it has run."""
    for module in (sys.modules[__name__], cell_process):
        ray.cloudpickle.register_pickle_by_value(module)
    return run_cell


def run_cell(
    packages: Content, inputs: Content, request: dict, threads: int, keep: bool, program: Sequence[str]
) -> tuple[str | None, Content, Content | None]:
    """One cell, on the machine that Ray chose: the error in one line or None, its results, and its model if kept.

    Runs where no package of Espalier is installed: it may use only what this file and `cell_process` define.
    """
    news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="espalier-cell-") as place:
        root, workspace, out = (Path(place) / name for name in ("packages", "workspace", "out"))
        for content, folder in ((packages, root), (inputs, workspace)):
            write_content(dict(zip(content, _fetched(list(content.values())), strict=True)), folder)
        out.mkdir()
        limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        asked = request | {"out": str(out), "workspace": str(workspace)}
        process = CellProcess(asked, root, limits, news.put, program)
        try:
            while not process.wait(0.2):  # in short waits, between which a cancellation comes through
                pass
        finally:
            process.close()
        if (error := news.get()) is not None:
            return error, {}, None
        return None, read_content(out), read_content(workspace / request["name"]) if keep else None


def write_content(content: Content, folder: Path) -> None:
    """Writes files [bytes, uint8] below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data.tofile(folder / path)


def read_content(folder: Path) -> Content:
    """The files below a folder, by their relative paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): np.fromfile(file, dtype=np.uint8) for file in files}


def _fetched(references: list) -> list:
    import ray

    return ray.get(references)


def _code(package: Path) -> list[tuple[str, Path]]:
    files = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [(file.relative_to(package).as_posix(), file) for file in files]


def _imported() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise RequestError("The engine ray needs Ray: pip install ray, or use --engine local.") from None
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here reports to nobody
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        where = f"The Ray cluster at {address} cannot be reached" if address else "No Ray cluster could be started"
        raise EspalierError(f"{where} ({first_line(error)}): see `ray status`, or use --engine local.") from error
