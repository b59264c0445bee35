"""First-order Taylor: how much the loss would change if the weight were zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "taylor", needs=("gradient_l1",), group="layer")
def taylor(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """By how much the loss would change without the weight, to first order: |W x gradient|. Good with unstructured:global.

    `weight` [R, C], `gradient_l1` [R, C] (the sum over calibration windows of the gradient's size) -> scores [R, C].
    The sizes are summed, not the gradients: in a trained model those average out. Molchanov et al., "Pruning
    Convolutional Neural Networks for Resource Efficient Inference" (2017), section 2.2.
    """
    return weight.float().abs() * statistics["gradient_l1"]
