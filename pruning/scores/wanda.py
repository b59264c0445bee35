"""Wanda: magnitude times the size of what the weight is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "wanda", needs=("column_norms",), group="row")
def wanda(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """Weight size times input size, |W| x norm of the input channel, compared within each output. Fast and good.

    `weight` [R, C], `column_norms` [C] (the L2 norm of every input channel over the calibration tokens) -> scores
    [R, C]. Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (2023), section 3.
    """
    return weight.float().abs() * statistics["column_norms"].float()
