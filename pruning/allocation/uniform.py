"""Uniform allocation: every projection carries the same share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.anatomy.roles import Projection


@register("allocation", "uniform")
def uniform(projections: Sequence[Projection], sparsity: float, measures: Mapping[str, Tensor]) -> dict[str, float]:
    """The same sparsity in every projection.

    Returns the sparsity of each projection, by its name.
    """
    return {projection.name: sparsity for projection in projections}
