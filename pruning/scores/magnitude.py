"""Magnitude: the baseline that every method is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "magnitude", group="layer")
def magnitude(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """The size of the weight, |W|; needs no text. The classic baseline, far behind on language models.

    `weight` [R, C] -> scores [R, C]. Han et al., "Learning both Weights and Connections for Efficient Neural
    Networks" (2015), section 3; compared within the whole layer.
    """
    return weight.float().abs()
