"""One pruning in progress: what its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from models.progress import Progress, silent
from pruning.config import PruningConfig
from pruning.registry import Entry, find

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pruning.roles import Anatomy
    from pruning.windows import Windows


@dataclass
class Job:
    """The model, its anatomy, the settings, and the calibration windows, which are made when first asked for.

    `undo_steps` holds how to take back each change so far, in order; None where the caller drops a failed model.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    config: PruningConfig
    read_windows: Callable[[], Windows]
    progress: Progress = silent
    undo_steps: list[Callable[[], None]] | None = None

    @cached_property
    def windows(self) -> Windows:
        """The calibration windows."""
        return self.read_windows()

    @property
    def windows_used(self) -> Windows | None:
        """The calibration windows if any stage asked for them."""
        return self.__dict__.get("windows")

    @property
    def method(self) -> Entry:
        """The registry entry of the method."""
        return find("method", self.config.method)

    def stage(self, index: int, count: int, what: str) -> Callable[[float], None]:
        """The progress of step `index` of `count`: a function of the fraction of that step."""
        return lambda fraction: self.progress((index + fraction) / count, f"{what} {index + 1} of {count}")

    def undo(self) -> None:
        """Takes back every change so far, the last first."""
        while self.undo_steps:
            self.undo_steps.pop()()
