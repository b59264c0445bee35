"""Makes the cells of a real model's table: prunes, measures, and keeps the figures, not the model."""

import argparse
import copy
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from benchmarks.command import command_line
from benchmarks.real import packed, quality, texts
from benchmarks.real.cells import DENSE, Cell
from benchmarks.real.kept import Kept
from evals.environment import environment
from models import Loaded, load
from models.console.progress import Progress, part
from models.storage.files import read_json, write_json
from pruning import prune
from pruning.calibration import find_source

SCHEMA = 1
EMBEDDED = "embedded"
PUBLISHED = "published.json"
C4 = "c4"  # as --calibration: the rows of the C4 sample that are not measured on
MEASURING = ("model", "dtype", "windows", "close", "rows")
CALIBRATING = ("calibration", "samples", "sequence_length")
PRUNED, TEXTS, CLOSE, ASKED = 0.4, 0.5, 0.6, 0.9  # where a cell's steps end in its progress
PUBLISHED_ROWS = {"piqa": None, "hellaswag": 2000}  # of the dense model, beside what was published; None: all


def protocol(options: argparse.Namespace, cell: Cell) -> dict:
    """What cells must share to be compared: of a pruned one the calibration, too, with the text that ships."""
    told = {name: getattr(options, name) for name in MEASURING}
    if not cell.pattern:
        return told
    text = None if options.calibration == C4 else find_source(options.calibration).identity(options.calibration)
    return told | {name: getattr(options, name) for name in CALIBRATING} | {"calibration_text": text}


def place(cell: Cell, options: argparse.Namespace) -> Path:
    """The file of a cell; those calibrated on another text than the one that ships have a folder of their own."""
    folder = options.out / options.model.replace("/", "--")
    if cell.pattern and options.calibration != EMBEDDED:
        folder /= Path(options.calibration).name.replace(":", "-")
    return folder / cell.file


def is_stored(cell: Cell, options: argparse.Namespace) -> bool:
    """Whether a cell was measured under this protocol."""
    path = place(cell, options)
    found = read_json(path) if path.is_file() else {}
    return found.get("schema_version") == SCHEMA and found.get("protocol") == protocol(options, cell)


class Bench:
    """The dense model and the texts that all cells are measured on."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.pages, web = texts.web_pages(options.source)
        self.measured = [texts.wikitext(options.source), web]

    @cached_property
    def dense(self) -> Loaded:
        """The dense model."""
        return load(self.options.model, device="cpu", dtype=self.options.dtype)

    def make(self, cell: Cell, progress: Progress) -> None:
        """Measures a cell and stores its figures; finished steps are kept beside its file until it is whole."""
        path = place(cell, self.options)
        kept = Kept(path.with_suffix(".part"), protocol(self.options, cell))
        about = {"cell": cell.name, "contender": cell.contender, "pattern": cell.pattern}
        self._store(path, kept, about | self._measured(cell, kept, progress))

    def make_published(self, progress: Progress) -> None:
        """Stores the dense model's answers to tasks that its makers published figures of."""
        path = place(Cell(DENSE), self.options).with_name(PUBLISHED)
        kept = Kept(path.with_suffix(".part"), {name: getattr(self.options, name) for name in ("model", "dtype")})
        self._store(path, kept, {"tasks": self._tasks(lambda: self.dense, kept, progress, PUBLISHED_ROWS)})

    def _store(self, path: Path, kept: Kept, found: dict) -> None:
        about = {"schema_version": SCHEMA, "command": command_line(), "environment": environment()}
        write_json(path, about | {"protocol": kept.protocol} | found | {"seconds": kept.seconds})
        kept.clear()

    def _measured(self, cell: Cell, kept: Kept, progress: Progress) -> dict:
        options = self.options
        model = self._twin(cell, kept, part(progress, 0, PRUNED)) if cell.pattern else lambda: self.dense
        share = part(progress, PRUNED, TEXTS)
        found = {"texts": kept.step("texts", lambda: quality.texts(model(), self.measured, options.windows, share))}
        found["tasks"] = self._tasks(model, kept, part(progress, CLOSE, ASKED))
        if cell.pattern:
            share = part(progress, TEXTS, CLOSE)
            found["closeness"] = kept.step(
                "closeness", lambda: quality.closeness(self.dense, model(), self.measured, options.close, share)
            )
        progress(ASKED, "speed")
        found["packed"] = kept.step("packed", lambda: packed.packed(self.dense, model(), options.turns))
        return found | kept.found("prune")

    def _tasks(self, model: Callable[[], Loaded], kept: Kept, progress: Progress, rows: dict | None = None) -> dict:
        rows = rows or dict.fromkeys(quality.TASKS, self.options.rows)
        found = {}
        for at, (name, most) in enumerate(rows.items()):
            share = part(progress, at / len(rows), (at + 1) / len(rows))

            def asked(name: str = name, most: int | None = most, share: Progress = share) -> dict:
                return quality.tasks(model(), self.options.source, most, share, [name])

            found |= kept.step(name, asked)
        return found

    def _twin(self, cell: Cell, kept: Kept, progress: Progress) -> Callable[[], Loaded]:
        """The pruned model, made when it is first asked for; what its pruning was is a step of its own."""
        held: list[Loaded] = []

        def prune_it() -> dict:
            options = self.options
            calibration = EMBEDDED if options.calibration == C4 else options.calibration
            config = cell.config(options.samples, options.sequence_length, calibration)
            pages = self.pages if options.calibration == C4 else None
            twin = self.dense._replace(model=copy.deepcopy(self.dense.model))
            report = prune(twin.model, twin.tokenizer, config, pages, progress, undoable=False)
            held.append(twin)
            return {"config": report.config.as_dict(), "sparsity": report.after.sparsity, "pruning": report.seconds}

        def twin() -> Loaded:
            kept.step("prune", prune_it)
            if not held:  # of a run that was killed after it
                prune_it()
            return held[0]

        return twin
