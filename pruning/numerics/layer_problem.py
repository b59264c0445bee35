"""What a solver is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pruning.numerics.mask_rule import MaskRule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LayerProblem:
    """One projection to prune.

    A weight that is zero in the dense model stays zero: where a model is sparser than the target, it stays sparser.

    weight: the dense weight [R, C], fp32. scores: [R, C], fp32, minus infinity where an earlier step of the schedule
    dropped the weight, which must stay so; otherwise 0 where the solver works the method's scores out for itself.
    target: the zeros it shall carry, with `keep(scores)` for the mask. statistics: what the solver's and the
    method's `needs` name, by name. method: whose scores these are, by name.
    """

    weight: Tensor
    scores: Tensor
    target: MaskRule
    statistics: Mapping[str, Tensor]
    method: str = ""

    @cached_property
    def alive(self) -> Tensor:
        """Which weights are not zero in the dense model [R, C]: no other one may come to be."""
        return self.weight != 0

    def keep(self, scores: Tensor) -> Tensor:
        """The mask [R, C] for `scores` [R, C], True where the weight stays: the target's, less what is zero anyway."""
        return self.target.keep(scores) & self.alive


@dataclass(frozen=True)
class Solution:
    """The new weight [R, C], fp32, zero wherever the mask `keep` [R, C] is False, and what a reader should know."""

    weight: Tensor
    keep: Tensor
    warnings: tuple[str, ...] = ()
