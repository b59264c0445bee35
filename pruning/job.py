"""One pruning in progress: what its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from models.progress import Progress, silent
from pruning.config import PruningConfig
from pruning.registry import Entry, find

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pruning.roles import Anatomy
    from pruning.windows import Windows


@dataclass
class Job:
    """The model, its anatomy, the settings, and the calibration windows, which are made when first asked for.

    `originals` holds CPU copies of the weights changed so far, so that a failed run can be undone; None where the
    caller throws a failed model away.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    config: PruningConfig
    read_windows: Callable[[], Windows]
    progress: Progress = silent
    originals: dict[str, torch.Tensor] | None = None
    warnings: list[str] = field(default_factory=list)

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

    def undo(self) -> None:
        """Puts back every weight changed so far."""
        for projection in self.anatomy.projections:
            if self.originals and projection.name in self.originals:
                projection.weight.copy_(self.originals[projection.name])
