"""How long and how fast a recovery trains, and on which of the calibration text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from pruning.adaptation.descent import Extent
from pruning.collect.blockwise import Batch

if TYPE_CHECKING:
    from pruning.calibrating.windows import Windows

EPOCHS = 8  # at most: a short text is not learnt by heart


@dataclass(frozen=True)
class Cost:
    """What a recovery takes: tokens in forward passes through all blocks, and bytes of memory besides the model's."""

    tokens: float
    bytes: int


@dataclass(frozen=True)
class Settings:
    """`tokens` are gone through (each part that is trained alone goes through as many), at the peak `rate`.

    text: how many different tokens they are at most, the first of the calibration text. batch: tokens of one step.
    """

    tokens: int
    text: int
    batch: int
    rate: float

    def extent(self, batches: Sequence[Batch], seconds: float | None) -> Extent:
        """The steps that come to so many tokens, `EPOCHS` times the text at most; or so many seconds, if given."""
        size = sum(batch.ids.numel() for batch in batches) / len(batches)
        return Extent(max(1, min(round(self.tokens / size), EPOCHS * len(batches))), seconds)

    def cost(self, tokens: int, passes: int) -> float:
        """The forward passes, in tokens, that training comes to, and `passes` over all of a text of so many tokens."""
        text = min(tokens, self.text)
        return 3 * min(self.tokens, EPOCHS * text) + passes * text  # a backward pass takes about twice as long

    def batches(self, windows: Windows) -> list[Batch]:
        """The windows in batches of one step, unpadded, each of texts equally long; longer ones are cut in pieces.

        What a window begins with stands before every piece of it.
        """
        rows = [ids[mask] for batch in windows.batches for ids, mask in zip(batch.ids, batch.mask, strict=True)]
        pieces = [piece for row in rows for piece in self._cut(row, len(windows.begin_with))]
        batches, room = [], self.text
        for length, group in groupby(pieces, key=len):
            equals = list(group)[: max(0, -(-room // length))]
            room -= length * len(equals)
            size = max(1, self.batch // length)
            for start in range(0, len(equals), size):
                ids = torch.stack(equals[start : start + size])
                batches.append(Batch(ids, torch.ones_like(ids, dtype=torch.bool)))
        return batches

    def _cut(self, row: torch.Tensor, opening: int) -> list[torch.Tensor]:
        """The pieces of a window [T] of at most one batch; what is left at its end if it is no less than half of one."""
        first, *others = row[opening:].split(max(1, self.batch - opening))
        return [torch.cat([row[:opening], piece]) for piece in (first, *others) if len(piece) >= len(first) / 2]
