"""The parts of a block that can be run alone: attention and feed-forward network, or the block as one.

A pre-norm block that adds its two parts to the stream one after the other, h + attention(norm(h)) and on that
h + mlp(norm(h)), is itself each of them when the other part is silent, i.e. gives zeros. That it is so is tried, and
where it is not (both parts read the same stream, a residual is added inside) the block is one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import torch
from torch import nn

from pruning.anatomy.roles import Projection

ATTENTION = frozenset({"q", "k", "v", "o", "qkv", "q_a", "q_b", "kv_a", "kv_b"})
LAST = frozenset({"o", "down"})  # what a part without a module of its own ends with
TOLERANCE = 1e-3  # of what the block adds to the stream
Run = Callable[[torch.Tensor], torch.Tensor]  # the block, from the stream [B, T, H] before it to that after it


@dataclass(frozen=True)
class Silence:
    """A module that can be made to give zeros: `length` is that of the tuple it gives (None: a tensor)."""

    module: nn.Module
    width: int
    length: int | None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within it the module gives zeros, and computes nothing."""
        before = self.module.__dict__.get("forward")
        self.module.forward = self._zeros
        try:
            yield
        finally:
            del self.module.forward
            if before is not None:
                self.module.forward = before

    def _zeros(self, *args: Any, **kwargs: Any) -> Any:
        given = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        zeros = given.new_zeros(*given.shape[:-1], self.width)
        return zeros if self.length is None else (zeros, *[None] * (self.length - 1))


@dataclass(frozen=True)
class Part:
    """A part of a block by its name; with `other` silent the block is this part (None: it is the whole block)."""

    name: str
    other: Silence | None = None

    def has(self, projection: Projection) -> bool:
        """Whether a projection of the block belongs to this part, and not to the one that is silent beside it."""
        return self.other is None or (projection.role in ATTENTION) == (self.name == "attention")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it the block is this part alone."""
        if self.other is None:
            yield
            return
        with self.other():
            yield


@torch.no_grad()
def find_parts(model: nn.Module, projections: Sequence[Projection], run: Run, hidden: torch.Tensor) -> list[Part]:
    """The parts of the block that has these projections, in their order, tried on the stream `hidden` [B, T, H]."""
    groups = [[entry for entry in projections if (entry.role in ATTENTION) is wanted] for wanted in (True, False)]
    modules = [_module(model, group) if group else None for group in groups]
    if None in modules or modules[0] is modules[1]:
        return [Part("block")]
    lengths: dict[nn.Module, int | None] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        lengths[module] = len(output) if isinstance(output, tuple) else None

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        expected = run(hidden)
    finally:
        for hook in hooks:
            hook.remove()
    if any(module not in lengths for module in modules):
        return [Part("block")]
    attention, network = (Silence(module, hidden.shape[-1], lengths[module]) for module in modules)
    parts, found = [Part("attention", network), Part("mlp", attention)], hidden
    for part in parts:
        with part.alone():
            found = run(found)
    difference = (found - expected).norm() / (expected - hidden).norm().clamp_min(1e-12)
    return parts if float(difference) < TOLERANCE else [Part("block")]


def _module(model: nn.Module, projections: Sequence[Projection]) -> nn.Module:
    """The smallest module with all of these projections; where that holds the whole block, the last projection."""
    places = [entry.parameter_name.split(".")[:-1] for entry in projections]
    common = commonprefix(places)
    if not common or common[-1].isdigit():  # the block itself, by its number
        last = [entry.module for entry in projections if entry.role in LAST]
        return last[-1] if last else projections[-1].module
    return model.get_submodule(".".join(common))
