"""A sweep: models pruned by methods at sparsities, each cell in a process of its own, and one report of all.

DIR/cells/NAME holds the results of a cell, DIR/models/NAME its model if that is kept, DIR/sweep.json lists the cells,
and DIR/report.md, results.csv and plots are those of `evals.reporting.report`. A cell is whole once its results.json is there;
what else a killed process left is gone on with, or made again.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from evals.reporting.plotting import require_matplotlib
from evals.reporting.report import Report, write_report
from evals.runs.results import SWEEP, check
from evals.sweeping import engines
from evals.sweeping.board import Board
from evals.sweeping.cell_run import CellRun
from evals.sweeping.sweep_plan import CELLS, FILE_NAME, MODELS, Plan, Request, make_plan, refuse_disturbed
from models.errors import EspalierError, RequestError
from models.storage.disk import WriteFailed, explained
from models.storage.files import real_path, write_json

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Swept:
    """What a sweep came to: the content of sweep.json, and the report (None if no cell is whole)."""

    document: dict
    report: Report | None

    @property
    def failed(self) -> list[dict]:
        """The cells that failed, as sweep.json lists them."""
        return [cell for cell in self.document["cells"] if cell["state"] == "failed"]


def sweep(
    request: Request,
    engine: str = engines.DEFAULT,
    workers: int | None = None,
    address: str | None = None,
    resume: bool = False,
    command: str = "",
    stream: TextIO | None = None,
) -> Swept:
    """Runs every cell that is not whole already, and writes sweep.json, the report and its plots.

    `stream` is where the progress is shown (None: standard error). A cell that fails ends alone, and its reason is in
    sweep.json. Raises RequestError, with nothing written, for every mistake in the request, EspalierError if the sweep
    was interrupted: cells that were whole by then stay, of others nothing is left.
    """
    if workers is not None and workers < 1:
        raise RequestError("--workers must be 1 or more.")
    require_matplotlib()
    plan = make_plan(request, resume, command)
    with contextlib.closing(engines.find(engine)(workers=workers, address=address, device=request.device)) as runner:
        refuse_disturbed(plan.metrics, runner.alone)
        with _own_folder(request.out), Board([planned.cell for planned in plan.planned], stream) as board:
            run = CellRun(plan, runner, board)
            try:
                run.run()
            except BaseException as error:
                run.cancel()
                if not isinstance(error, KeyboardInterrupt | WriteFailed):
                    raise
                reason = "Interrupted:" if isinstance(error, KeyboardInterrupt) else str(error)
                raise EspalierError(
                    f"{reason} {run.done} of {len(plan.planned)} cells are whole, of the others nothing is left; "
                    "the same command with --resume goes on."
                ) from error
    document = _document(request, plan, run, engine, command)
    check(document, SWEEP, FILE_NAME)
    try:
        return _written(request.out, document, plan, run)
    except WriteFailed as error:
        raise EspalierError(f"{error} The cells are kept: the same command with --resume goes on.") from error


def _written(out: Path, document: dict, plan: Plan, run: CellRun) -> Swept:
    """Writes sweep.json and the report of the cells that are whole."""
    write_json(out / FILE_NAME, document)
    whole = [planned.folder.path for planned in plan.planned if run.standings[planned.cell.name].state == "done"]
    try:
        return Swept(document, write_report(whole, out) if whole else None)
    except RequestError as error:  # times of several machines, for one
        raise EspalierError(
            f"The cells are done and {FILE_NAME} is written, but they make no report: {error}"
        ) from error


@contextlib.contextmanager
def _own_folder(out: Path) -> Iterator[None]:
    """The sweep's folder, for this process alone; what is empty of it goes if the sweep fails."""
    was_there = out.exists()
    with explained(out):
        real_path(out).mkdir(parents=True, exist_ok=True)
    lock = os.open(out, os.O_RDONLY)
    try:
        _lock(lock, out)
        yield
    except BaseException:
        for folder in (out / CELLS, out / MODELS, *(() if was_there else (out,))):
            with contextlib.suppress(OSError):  # it is not empty, or not there
                folder.rmdir()
        raise
    finally:
        os.close(lock)


def _lock(folder: int, out: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it falls with this process, however that ends
    except BlockingIOError:
        raise RequestError(f"Another sweep is at work in {out}: wait for it, or choose another folder.") from None
    except OSError:
        pass  # a file system without locks


def _document(request: Request, plan: Plan, run: CellRun, engine: str, command: str) -> dict:
    cells = []
    for planned in plan.planned:
        cell, standing = planned.cell, run.standings[planned.cell.name]
        done = standing.state == "done"
        kept = planned.folder.kept
        cells.append(
            {
                "name": cell.name,
                "model": cell.model,
                "pruning": cell.config.as_dict() if cell.config else None,
                "state": standing.state,
                "error": standing.error,
                "results": f"{CELLS}/{cell.name}/{planned.folder.results.name}" if done else None,
                "kept": f"{MODELS}/{cell.name}" if done and kept else None,
            }
        )
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "engine": engine,
        "settings": request.as_dict(),
        "models": plan.models,
        "cells": cells,
    }
