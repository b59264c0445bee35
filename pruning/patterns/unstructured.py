"""Unstructured sparsity: the zeros lie where the scores say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

# 0.29 * 100 is 28.999999999999996: what a person means by it is 29.
ROUNDING = 1e-9


SPELLINGS = {"unstructured": None, "unstructured:row": "row", "unstructured:layer": "layer"}


@register("pattern", "unstructured", examples=tuple(SPELLINGS))
@dataclass(frozen=True)
class Unstructured:
    """Zeros anywhere, an exact number in every row or in every layer: as the method was published, or as you say.

    `compared` is "row" or "layer": among which weights the lowest are sought; None is the method's own choice.
    """

    compared: str | None = None
    implied_sparsity = None

    @classmethod
    def parse(cls, text: str) -> Unstructured | None:
        """The pattern, if `text` is one of its spellings."""
        return cls(SPELLINGS[text]) if text in SPELLINGS else None

    def misfit(self, columns: int) -> str | None:
        """It lies on rows of any length."""
        return None

    def dropped(self, rows: int, columns: int, sparsity: float, group: str) -> int:
        """floor(C s) of every row, or round(R C s) of the layer (half up)."""
        if (self.compared or group) == "layer":
            return math.floor(rows * columns * sparsity + 0.5)
        return rows * math.floor(columns * sparsity + ROUNDING)

    def keep(self, scores: Tensor, sparsity: float, group: str) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]."""
        from pruning.selection import keep_highest

        rows, columns = scores.shape
        drop = self.dropped(rows, columns, sparsity, group)
        if (self.compared or group) == "layer":
            return keep_highest(scores.reshape(1, -1), drop).reshape(rows, columns)
        return keep_highest(scores, drop // rows)

    def rule(self, rows: int, columns: int, sparsity: float, group: str) -> str:
        """The rule in words."""
        drop = self.dropped(rows, columns, sparsity, group)
        if (self.compared or group) == "layer":
            return f"the {drop} lowest of all {rows * columns}"
        return f"the {drop // rows} lowest of the {columns} in every row"
