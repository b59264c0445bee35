"""The descent that every recovery makes: Adam over weights of which the zeros do not move, its rate along a cosine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.errors import EspalierError
from training.schedules import rate_factor

if TYPE_CHECKING:
    from pruning.adaptation.weights import Trained

WARM_UP = 0.05  # of the steps
BETAS = (0.9, 0.95)
CLIP = 1.0


@dataclass(frozen=True)
class Extent:
    """How far a descent goes: so many steps; or, where they are given, so many seconds, and at least one step."""

    steps: int
    seconds: float | None = None

    def fractions(self) -> Iterator[float]:
        """What is done, 0 <= f < 1, before each step."""
        began, step = time.monotonic(), 0
        while True:
            if not step or self.seconds is None:
                done = step / self.steps
            else:
                done = (time.monotonic() - began) / max(self.seconds, 1e-9)
            if done >= 1:
                return
            yield done
            step += 1


def descend(
    trained: Trained,
    loss: Callable[[int], torch.Tensor],
    batches: int,
    extent: Extent,
    rate: float,
    tick: Callable[[float], None],
    what: str,
    seed: int = 0,
) -> int:
    """Lowers `loss(batch number)` by what is `trained`, and held; returns how many steps it made.

    The batches are gone through in an order drawn anew each time. EspalierError if the loss of `what` is not finite.
    """
    parameters = trained.parameters
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=BETAS, fused=True)
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    steps = 0
    for fraction in extent.fractions():
        tick(fraction)
        order = order or torch.randperm(batches, generator=generator).tolist()
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_factor("cosine", WARM_UP, max(fraction, 1e-3))
        with torch.enable_grad():  # a caller may have turned it off
            value = loss(order.pop())
            value.backward()
        if not math.isfinite(float(value.detach())):
            raise EspalierError(f"The loss of {what} is not finite: omit --recover, or use --dtype float32.")
        for parameter, mask in zip(parameters, trained.masks, strict=True):
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()  # where a gradient was always zero, so are its moments: nothing moves
        optimizer.zero_grad(set_to_none=True)
        steps += 1
    return steps
