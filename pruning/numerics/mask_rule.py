"""The target: which zeros one projection shall carry, whatever the scores are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MaskRule:
    """A pattern (an object of `pruning.patterns`), the sparsity, and within what the scores are compared.

    group: "row" or "layer"; the pattern may overrule it.
    """

    pattern: Any
    sparsity: float
    group: str

    def keep(self, scores: Tensor) -> Tensor:
        """The mask [R, C], True where the weight stays, for `scores` [R, C]: the lowest go."""
        return self.pattern.keep(scores, self.sparsity, self.group)

    def dropped(self, rows: int, columns: int) -> int:
        """How many weights of a [rows, columns] projection go, exactly."""
        return self.pattern.dropped(rows, columns, self.sparsity, self.group)

    def rule(self, rows: int, columns: int) -> str:
        """The rule in words."""
        return self.pattern.rule(rows, columns, self.sparsity, self.group)

    def at(self, sparsity: float) -> MaskRule:
        """The same at another sparsity."""
        return replace(self, sparsity=sparsity)
