"""One pruning in progress: what its stages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from models.console.progress import Progress, silent
from pruning.collect.blockwise import Batch, BlockWalk
from pruning.collect.gradients import GRADIENT_STATISTICS, loss_gradients
from pruning.config import PruningConfig
from pruning.registry import Entry, find

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pruning.anatomy.roles import Anatomy, Projection
    from pruning.calibrating.windows import Windows
    from pruning.plan import ProjectionPlan


class Checkpoint(Protocol):
    """Where the finished blocks of a run are kept."""

    def restore(self, index: int, projections: Sequence[Projection]) -> list[ProjectionPlan] | None:
        """Puts back the weights of a finished block and returns its plan; None if it is not finished."""

    def store(self, projections: Sequence[Projection], entries: Sequence[ProjectionPlan]) -> None:
        """Keeps a finished block."""


@dataclass
class Job:
    """The model, its anatomy, the settings, and the calibration windows, which are made when first asked for.

    `undo_steps` holds how to take back each change so far, in order; None where the caller drops a failed model.
    `checkpoint` keeps what is done of an interruptible run. `warnings` are what stages found worth saying.
    `dense_perplexity` is the dense model's own on the calibration text, once that was read. `activations` is a folder
    that hidden states wait in (None: in memory), `device` where blocks are computed (None: where the model is).
    `stored` has the dtypes that tensors of the model come back to, by their `id` (see `models.precision.computing_in`).
    `gradients` are the gradient statistics of the dense model that were taken, by their name and the projection's.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    config: PruningConfig
    read_windows: Callable[[], Windows]
    progress: Progress = silent
    undo_steps: list[Callable[[], None]] | None = None
    checkpoint: Checkpoint | None = None
    warnings: list[str] = field(default_factory=list)
    dense_perplexity: float | None = None
    activations: Path | None = None
    device: torch.device | None = None
    stored: Mapping[int, torch.dtype] = field(default_factory=dict)
    gradients: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    _stages: list[str] = field(default_factory=list, init=False)

    @cached_property
    def windows(self) -> Windows:
        """The calibration windows."""
        return self.read_windows()

    @property
    def windows_used(self) -> Windows | None:
        """The calibration windows if any stage asked for them."""
        return self.__dict__.get("windows")

    def walk(self, batches: Sequence[Batch] | None = None) -> BlockWalk:
        """A walk over the blocks, on the calibration windows unless other batches are given."""
        batches = self.windows.batches if batches is None else batches
        return BlockWalk(self.model, self.anatomy.blocks, batches, self.activations, self.device)

    def stored_dtype(self, parameter: torch.Tensor) -> torch.dtype:
        """The dtype that the result has a parameter in, whatever is computed in."""
        return self.stored.get(id(parameter), parameter.dtype)

    def stored_bytes(self, parameter: torch.Tensor) -> int:
        """The bytes that a parameter takes in the result."""
        return parameter.numel() * self.stored_dtype(parameter).itemsize

    @property
    def method(self) -> Entry:
        """The registry entry of the method."""
        return find("method", self.config.method)

    @property
    def solver(self) -> Entry:
        """The registry entry of the solver."""
        return find("solver", self.config.solver)

    @property
    def needs(self) -> tuple[str, ...]:
        """The statistics of inputs that the method and the solver read, empty if there are none."""
        needs = {*self.method.needs, *self.solver.needs} - GRADIENT_STATISTICS.keys()
        return tuple(sorted(needs | {"column_norms"})) if needs else ()

    def take_gradients(self, needs: Iterable[str]) -> None:
        """Takes those of the statistics `needs` that are about gradients, of the model as it is, once."""
        missing = [need for need in needs if need in GRADIENT_STATISTICS and need not in self.gradients]
        self.gradients |= loss_gradients(self, missing) if missing else {}

    def gradients_of(self, projection: Projection, needs: Iterable[str]) -> dict[str, torch.Tensor]:
        """Those of the statistics `needs` that are about gradients, of one projection, on its device.

        Nothing but what is asked for: what an allocation had taken besides is not there after a `--resume`.
        """
        device = projection.weight.device
        return {need: self.gradients[need][projection.name].to(device) for need in needs if need in GRADIENT_STATISTICS}

    def stage(self, index: int, count: int, what: str) -> Callable[[float], None]:
        """The progress of step `index` of `count` of the stage `what`: a function of the fraction of that step.

        Stages come one after the other, and each is given the same part of the bar.
        """
        if self._stages[-1:] != [what]:
            self._stages.append(what)
        before, stages = len(self._stages) - 1, max(self._expected_stages(), len(self._stages))
        return lambda fraction: self.progress(
            (before + (index + fraction) / count) / stages, f"{what} {index + 1} of {count}"
        )

    def _expected_stages(self) -> int:
        allocation, pattern = find("allocation", self.config.allocation), self.config.parsed_pattern()
        needs = {*self.method.needs, *self.solver.needs, *allocation.needs}
        measured = pattern.across_layers or pattern.permuted or allocation.measure is not None
        gradients = bool(needs & GRADIENT_STATISTICS.keys())
        return 1 + measured + gradients * (2 if pattern.permuted else 1)  # which are taken again in another order

    def undo(self) -> None:
        """Takes back every change so far, the last first."""
        while self.undo_steps:
            self.undo_steps.pop()()
