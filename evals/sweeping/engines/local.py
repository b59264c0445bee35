"""Cells in processes of this machine."""

import os
import queue
from collections.abc import Sequence
from pathlib import Path

from evals.sweeping.cell_process import PROGRAM, CellProcess
from evals.sweeping.engines import Ended, Job, engine
from models.errors import RequestError
from models.policy import choose_device

ROOT = Path(__file__).parents[3]


@engine("local")
class Local:
    """Processes of this machine, one at a time or --workers N at once, which share its threads and its GPUs."""

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        device: str = "auto",
        program: Sequence[str] = PROGRAM,
    ):
        if address is not None:
            raise RequestError("--address is of a cluster: omit it, or use --engine ray.")
        choose_device(device)
        self.workers = 1 if workers is None else workers
        self.alone = self.workers == 1
        self._program = program
        self._free = list(range(self.workers))
        self._running: dict[str, tuple[int, CellProcess]] = {}
        self._news: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._environments = environments(self.workers, device)

    def submit(self, job: Job) -> None:
        """Starts a job in its workspace, where the inputs are links."""
        link(job.inputs, job.workspace)
        slot = self._free.pop(0)
        process = CellProcess(
            job.request | {"out": str(job.folder.absolute()), "workspace": str(job.workspace.absolute())},
            ROOT,
            self._environments[slot],
            lambda error: self._news.put(Ended(job.name, error)),
            self._program,
        )
        self._running[job.name] = slot, process

    def ended(self, patience: float) -> list[Ended]:
        """The jobs that ended."""
        found = []
        try:
            found.append(self._news.get(timeout=patience))
            while True:
                found.append(self._news.get_nowait())
        except queue.Empty:
            pass
        for news in found:
            slot, process = self._running.pop(news.name)
            process.close()
            self._free.append(slot)
        return found

    def fractions(self) -> dict[str, float]:
        """How far the running jobs are."""
        return {name: process.fraction for name, (_, process) in self._running.items()}

    def close(self) -> None:
        """Ends the processes and all that they started."""
        for _, process in self._running.values():
            process.close()
        self._running.clear()


def link(inputs: dict[str, Path], workspace: Path) -> None:
    """Puts links to the inputs into a workspace."""
    for name, place in inputs.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).unlink(missing_ok=True)  # of a killed process
        (workspace / name).symlink_to(place)


def environments(workers: int, device: str) -> list[dict[str, str]]:
    """What is set for each worker: its share of the threads, and a GPU of its own where there are several."""
    import torch

    threads = str(max(1, torch.get_num_threads() // workers))
    shares = [{"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} for _ in range(workers)]
    cards = torch.cuda.device_count() if device != "cpu" else 0
    if workers > 1 and cards > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(cards)))
        for slot, share in enumerate(shares):
            share["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % cards]
    return shares
