"""Arithmetic progression: every block a little sparser than the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.anatomy.roles import Projection

SPAN = 0.1  # how much sparser the last block is than the first


@register("allocation", "progression")
def progression(projections: Sequence[Projection], sparsity: float, measures: Mapping[str, Tensor]) -> dict[str, float]:
    """Every block a little sparser than the one before it, the last 10 points above the first; needs no text.

    What the first blocks lose, all that follow are given, so that they keep more. Block l of L is given
    s + 0.1 (l/(L-1) - 1/2). Returns the sparsity of each projection, by its name. Huang et al., "Determining
    Layer-wise Sparsity for Large Language Models Through a Theoretical Perspective" (2025), where the step is searched.
    """
    last = max(entry.block for entry in projections)
    return {entry.name: sparsity + SPAN * (entry.block / last - 0.5 if last else 0) for entry in projections}
