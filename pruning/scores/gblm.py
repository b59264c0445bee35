"""GBLM: Wanda, and how much the loss leans on the weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

ALPHA = 100.0  # what a gradient counts beside an input, as published


@register("method", "gblm", needs=("column_norms", "gradient_l2"), group="row")
def gblm(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """Wanda with the gradient of the loss: |W| x (input norm + 100 x gradient norm), compared within each output.

    `weight` [R, C], `column_norms` [C], `gradient_l2` [R, C] (the L2 norm over calibration windows of the gradient)
    -> scores [R, C]. Das, Ma and Shen, "Beyond Size: How Gradients Shape Pruning Decisions in Large Language Models"
    (2023), section 3. The 100 is its weight of gradients, which in fp16 also keeps them from underflow; here they are
    fp32, and both norms are sums over the same windows, so that the number of windows does not shift the balance.
    """
    return weight.float().abs() * (statistics["column_norms"].float() + ALPHA * statistics["gradient_l2"])
