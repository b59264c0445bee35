"""The weights that a recovery trains: in fp32 while it does, their zeros held, rounded to what is stored at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.errors import EspalierError, RequestError

if TYPE_CHECKING:
    from pruning.anatomy.roles import Anatomy
    from pruning.job import Job


class Trained:
    """The parameters of a module that may change: its pruned projections, its norms and biases; never a router.

    `values` are what is trained, fp32 copies, and `masks` say which of their entries may move: of a matrix those that
    are not zero, of a norm or a bias all.
    """

    def __init__(self, job: Job, module: nn.Module):
        self._job = job
        inside = {id(parameter) for parameter in module.parameters()}
        projections = {id(entry.parameter) for entry in job.anatomy.projections}
        own = {name: each for name, each in job.model.named_parameters() if id(each) in inside}
        self._named = {
            name: each
            for name, each in own.items()
            if (id(each) in projections or (each.ndim == 1 and each.is_floating_point()))
            and name not in job.anatomy.routers
        }
        self._stored = [job.stored_dtype(parameter) for parameter in self.parameters]
        self.values = [parameter.detach().to(torch.float32, copy=True) for parameter in self.parameters]
        self.masks = [value != 0 if value.ndim > 1 else torch.ones_like(value).bool() for value in self.values]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The model's own parameters."""
        return list(self._named.values())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the model has the values in place of its own numbers, and only they take gradients."""
        flags = [(parameter, parameter.requires_grad) for parameter in self._job.model.parameters()]
        wanted = {id(parameter) for parameter in self.parameters}
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(id(parameter) in wanted)
            with holding(self.parameters, self.values):
                yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    @torch.no_grad()
    def round(self) -> None:
        """Rounds the values to the numbers that will be stored. EspalierError if one is not finite then."""
        for name, value, dtype in zip(self._named, self.values, self._stored, strict=True):
            value.copy_(value.to(dtype))
            if not bool(value.isfinite().all()):
                raise EspalierError(f"Recovery made {name} overflow: use --dtype float32, or omit --recover.")

    @torch.no_grad()
    def keep(self) -> None:
        """Writes the rounded values into the model; what may not move keeps its bits. Can be undone."""
        steps = self._job.undo_steps
        for parameter, value, mask in zip(self.parameters, self.values, self.masks, strict=True):
            if steps is not None:
                steps.append(partial(_put_back, parameter, parameter.to("cpu", copy=True)))
            parameter.copy_(torch.where(mask, value.to(parameter.dtype), parameter))


RECONSTRUCT = "--recover reconstruct adapts them one by one: use --recover distill, or omit --recover"


def check_separate(job: Job, why: str = RECONSTRUCT) -> None:
    """RequestError if two blocks share a parameter: what adapts it to one would spoil it for the other."""
    if (shared := shared_parameter(job.anatomy)) is not None:
        name, first, second = shared
        raise RequestError(f"Blocks {first} and {second} of this model share {name}, and {why}.")


def shared_parameter(anatomy: Anatomy) -> tuple[str, int, int] | None:
    """A parameter that two blocks share, by its name in the second, and the numbers of both; None if there is none."""
    owners: dict[int, int] = {}
    for index, block in enumerate(anatomy.blocks):
        for name, parameter in block.named_parameters():
            if (first := owners.setdefault(id(parameter), index)) != index:
                return name, first, index
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it no module drops anything out; afterwards each is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def holding(parameters: Iterable[nn.Parameter], values: Iterable[torch.Tensor]) -> Iterator[None]:
    """Has the parameters hold these values, of any dtype, and afterwards their own again."""
    own = [(parameter, parameter.data) for parameter in parameters]
    try:
        for (parameter, _), value in zip(own, values, strict=True):
            parameter.data = value
        yield
    finally:
        for parameter, data in own:
            parameter.grad = None
            parameter.data = data


@torch.no_grad()
def _put_back(parameter: nn.Parameter, before: torch.Tensor) -> None:
    parameter.copy_(before)
