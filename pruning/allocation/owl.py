"""OWL: blocks with more outlying scores keep more of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.anatomy.roles import Projection

OUTLIER = 5.0  # M of the paper: a score this many times the block's mean is an outlier
REACH = 0.08  # lambda of the paper: the sparsities lie within a range twice as wide


def wanda_histogram(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """How many Wanda scores of `weight` [R, C] there are of each size, int64 [2, B] (`pruning.numerics.histogram`)."""
    from pruning.numerics.histogram import histogram
    from pruning.scores.wanda import wanda

    return histogram(wanda(weight, statistics))


@register("allocation", "owl", needs=("column_norms",), measure=wanda_histogram)
def owl(projections: Sequence[Projection], sparsity: float, measures: Mapping[str, Tensor]) -> dict[str, float]:
    """Blocks with more outlying Wanda scores keep more, within 8 points of the mean; one sparsity a block.

    `measures`: the histograms of Wanda scores. A block's outlier ratio D is the share of its scores above M = 5 times
    their mean; with lambda = 0.08 and D scaled to [0, 2 lambda] over the blocks, its sparsity is
    s - (D - mean D). Returns the sparsity of each projection, by its name. Yin et al., "Outlier Weighed Layerwise
    Sparsity (OWL)" (2023), section 4; the mean is weighted by the number of weights, and is s.
    """
    ratios = {block: _outliers([measures[entry.name] for entry in projections if entry.block == block])
              for block in dict.fromkeys(entry.block for entry in projections)}  # fmt: skip
    least, span = min(ratios.values()), max(ratios.values()) - min(ratios.values())
    scaled = {block: 2 * REACH * (ratio - least) / span if span else 0.0 for block, ratio in ratios.items()}
    sizes = [entry.rows * entry.columns for entry in projections]
    mean = sum(size * scaled[entry.block] for size, entry in zip(sizes, projections, strict=True)) / sum(sizes)
    return {entry.name: sparsity - (scaled[entry.block] - mean) for entry in projections}


def _outliers(histograms: Sequence[Tensor]) -> float:
    """The share of the scores of one block that are outliers."""
    from torch import cat

    from pruning.numerics.histogram import values

    bins, counts = cat(list(histograms), dim=1)
    scores = values(bins)
    mean = float((scores * counts).sum() / counts.sum())
    return int(counts[scores > OUTLIER * mean].sum()) / int(counts.sum())
