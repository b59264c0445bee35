"""No solver: the surviving weights stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("solver", "none")
def keep_as_they_are(weight: Tensor, keep: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """The weights that stay keep their values, bit for bit.

    `weight` [R, C], mask `keep` [R, C] -> the new weight [R, C].
    """
    return weight.masked_fill(~keep, 0)
