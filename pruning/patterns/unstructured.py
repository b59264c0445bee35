"""Unstructured sparsity: the zeros lie where the scores say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

# 0.29 * 100 is 28.999999999999996: what a person means by it is 29.
ROUNDING = 1e-9


@register("pattern", "unstructured")
class Unstructured:
    """Zeros anywhere, an exact number in every row (or in every layer, for magnitude)."""

    implied_sparsity = None

    @classmethod
    def parse(cls, text: str) -> Unstructured | None:
        """The pattern, if `text` is its name."""
        return cls() if text == "unstructured" else None

    def misfit(self, columns: int) -> str | None:
        """It lies on rows of any length."""
        return None

    def dropped(self, rows: int, columns: int, sparsity: float, group: str) -> int:
        """floor(C s) of every row, or round(R C s) of the layer (half up)."""
        if group == "layer":
            return math.floor(rows * columns * sparsity + 0.5)
        return rows * math.floor(columns * sparsity + ROUNDING)

    def keep(self, scores: Tensor, sparsity: float, group: str) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]."""
        from pruning.selection import keep_highest

        rows, columns = scores.shape
        drop = self.dropped(rows, columns, sparsity, group)
        if group == "layer":
            return keep_highest(scores.reshape(1, -1), drop).reshape(rows, columns)
        return keep_highest(scores, drop // rows)

    def rule(self, rows: int, columns: int, sparsity: float, group: str) -> str:
        """The rule in words."""
        drop = self.dropped(rows, columns, sparsity, group)
        if group == "layer":
            return f"the {drop} lowest of all {rows * columns}"
        return f"the {drop // rows} lowest of the {columns} in every row"
