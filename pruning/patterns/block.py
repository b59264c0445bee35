"""Block sparsity: whole rectangles become zero, which any matrix multiplication can skip."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import RequestError
from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("pattern", "block:RxC", examples=("block:16x16", "block:1x8", "block:32x1"))
@dataclass(frozen=True)
class Block:
    """Rectangles of R outputs by C inputs, such as block:16x16, the lowest sums of scores within the layer going.

    Narang, Undersander and Diamos, "Block-Sparse Recurrent Neural Networks" (2017), section 3.1.
    """

    high: int
    wide: int
    implied_sparsity = None
    permuted = False
    across_layers = False

    @classmethod
    def parse(cls, text: str) -> Block | None:
        """`block:16x16` as a pattern, None for anything that does not begin so. RequestError for other than RxC."""
        if not text.startswith("block:"):
            return None
        match = re.fullmatch(r"block:([1-9]\d*)x([1-9]\d*)", text)
        if match is None:
            raise RequestError(f"The pattern {text} is no block: write block:RxC, outputs by inputs, as block:16x16.")
        return cls(int(match[1]), int(match[2]))

    def misfit(self, rows: int, columns: int) -> str | None:
        """Why it cannot tile a [rows, columns] projection, if it cannot."""
        if rows % self.high:
            return f"{rows} outputs are no multiple of {self.high}"
        return f"{columns} inputs are no multiple of {self.wide}" if columns % self.wide else None

    def unit(self, rows: int, group: str) -> int:
        """The weights of one block."""
        return self.high * self.wide

    def dropped(self, rows: int, columns: int, sparsity: float, group: str) -> int:
        """round(blocks x sparsity) blocks (half up); they are compared within the layer, whatever `group` says."""
        return self._blocks_dropped(rows * columns, sparsity) * self.high * self.wide

    def keep(self, scores: Tensor, sparsity: float, group: str) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]."""
        from pruning.numerics.selection import keep_highest

        rows, columns = scores.shape
        sums = scores.reshape(rows // self.high, self.high, columns // self.wide, self.wide).sum(dim=(1, 3))
        keep = keep_highest(sums.reshape(1, -1), self._blocks_dropped(scores.numel(), sparsity)).reshape(sums.shape)
        return keep.repeat_interleave(self.high, dim=0).repeat_interleave(self.wide, dim=1)

    def rule(self, rows: int, columns: int, sparsity: float, group: str) -> str:
        """The rule in words."""
        blocks, dropped = rows * columns // (self.high * self.wide), self._blocks_dropped(rows * columns, sparsity)
        return f"the {dropped} lowest of {blocks} blocks of {self.high}x{self.wide}"

    def _blocks_dropped(self, weights: int, sparsity: float) -> int:
        return math.floor(weights // (self.high * self.wide) * sparsity + 0.5)
