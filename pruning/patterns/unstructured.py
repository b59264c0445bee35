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
SPELLINGS = {"unstructured": None} | {f"unstructured:{group}": group for group in ("row", "layer", "global")}


@register("pattern", "unstructured", examples=tuple(SPELLINGS))
@dataclass(frozen=True)
class Unstructured:
    """Zeros anywhere, an exact number in every row, layer or model: as the method was published, or as you say.

    `compared` is "row", "layer" or "global": among which weights the lowest are sought; None is the method's own
    choice. With "global" each layer's share comes from the scores of the whole model (`pruning.sharing`), and within
    the layer the lowest go.
    """

    compared: str | None = None
    implied_sparsity = None
    permuted = False

    @property
    def across_layers(self) -> bool:
        """Whether the scores of the whole model are compared."""
        return self.compared == "global"

    @classmethod
    def parse(cls, text: str) -> Unstructured | None:
        """The pattern, if `text` is one of its spellings."""
        return cls(SPELLINGS[text]) if text in SPELLINGS else None

    def misfit(self, rows: int, columns: int) -> str | None:
        """It lies on any shape."""
        return None

    def unit(self, rows: int, group: str) -> int:
        """One weight of every row, or a single one."""
        return rows if self._by_row(group) else 1

    def dropped(self, rows: int, columns: int, sparsity: float, group: str) -> int:
        """floor(C s) of every row, or round(R C s) of the layer (half up)."""
        if self._by_row(group):
            return rows * math.floor(columns * sparsity + ROUNDING)
        return math.floor(rows * columns * sparsity + 0.5)

    def keep(self, scores: Tensor, sparsity: float, group: str) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]."""
        from pruning.numerics.selection import keep_highest

        rows, columns = scores.shape
        drop = self.dropped(rows, columns, sparsity, group)
        if self._by_row(group):
            return keep_highest(scores, drop // rows)
        return keep_highest(scores.reshape(1, -1), drop).reshape(rows, columns)

    def rule(self, rows: int, columns: int, sparsity: float, group: str) -> str:
        """The rule in words."""
        drop = self.dropped(rows, columns, sparsity, group)
        if self._by_row(group):
            return f"the {drop // rows} lowest of the {columns} in every row"
        return f"the {drop} lowest of all {rows * columns}"

    def _by_row(self, group: str) -> bool:
        return (self.compared or group) == "row"
