"""RIA: a weight's share of its row and its column, times a root of the input's size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "ria", needs=("column_norms",), group="row")
def ria(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """Share of the weight in its row and column, (|W|/row sum + |W|/column sum) x root of the input norm: RIA.

    `weight` [R, C], `column_norms` [C] -> scores [R, C]; the root is the square root (a = 0.5). Zhang et al.,
    "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models" (2024), section 4.1.
    """
    size = weight.float().abs()
    tiny = 1e-30  # a row or column of zeros scores zero
    share = size / size.sum(dim=1, keepdim=True).clamp_min(tiny) + size / size.sum(dim=0).clamp_min(tiny)
    return share * statistics["column_norms"].float().sqrt()
