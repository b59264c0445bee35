"""A cell's folder: what is in it, whether it is whole, and what goes when it is not."""

import os
import shutil
from pathlib import Path

from evals.runs import finished
from evals.runs.results import FILE_NAME, read_results
from models.console.differences import differences
from models.errors import EspalierError, RequestError
from models.storage.files import TEMPORARY, read_json, write_json
from pruning.saved.identity import check_finished
from pruning.saved.record import finished_record

SETTINGS = "cell.json"
WORKSPACE = "work"
MADE_OF = (
    "model",
    "model_and_libraries",
    "pruning",
    "calibration",
    "machine",
)  # what of them a pruned model depends on
GONE_ON_WITH = {SETTINGS, WORKSPACE, finished.FILE_NAME}


class CellFolder:
    """The folder `cells/NAME` of a sweep; with `kept` the pruned model is to end there.

    Its settings come first and its results last: where those are all else is, but for a kept model, which may still
    have to take its place.
    """

    def __init__(self, path: Path, kept: Path | None = None):
        self.path, self.kept = path, kept
        self.results, self.workspace = path / FILE_NAME, path / WORKSPACE

    def check(self, settings: dict) -> bool:
        """Whether the cell is finished as these settings would make it; nothing is written.

        RequestError if the folder holds the results of other settings, naming the differences, or something else, or if
        the model that is kept is one of other settings.
        """
        if self.kept is not None and os.path.lexists(self.kept):
            check_finished(self.kept, finished_record(self.kept) or {}, made_of(settings))
        known = self._settings()
        if known is None and any(not path.match(TEMPORARY) for path in self._content()):
            raise RequestError(f"{self.path} is no cell of a sweep: choose another folder, or remove it.")
        if self.document() is None:
            return False
        if told := differences(known, settings):
            raise RequestError(f"{self.path} holds results of other settings ({told}): choose another folder.")
        return self.kept is None or self.kept.is_dir() or self._made.is_dir()

    def document(self) -> dict | None:
        """The results; None if there are none, or none that can be read."""
        try:
            return read_results(self.results)
        except EspalierError:
            return None

    def begin(self, settings: dict) -> None:
        """Makes the folder ready for the cell: of what a killed process left, that which is gone on with stays."""
        same = self._settings() == settings
        for path in self._content():
            if not same or path.name not in GONE_ON_WITH:
                _remove(path)
        for path in self.workspace.glob(TEMPORARY):
            _remove(path)
        write_json(self.path / SETTINGS, settings)
        self.workspace.mkdir(exist_ok=True)

    def settle(self) -> None:
        """Puts a model that is kept into its place, and removes the workspace."""
        if self.kept is not None and self._made.is_dir() and not self.kept.exists():
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._made, self.kept)
        shutil.rmtree(self.workspace, ignore_errors=True)

    def discard(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _made(self) -> Path:
        """Where the cell puts its pruned model."""
        return self.workspace / self.path.name

    def _content(self) -> list[Path]:
        return list(self.path.iterdir()) if self.path.is_dir() else []

    def _settings(self) -> dict | None:
        try:
            return read_json(self.path / SETTINGS)
        except EspalierError:
            return None


def made_of(settings: dict) -> dict:
    """The identity of the pruned model of a cell with these settings, as its `pruning.json` has it."""
    return {name: settings[name] for name in MADE_OF} | {"packed": None}


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
