"""Scores counted by size: what is left of a projection when the scores of the whole model are compared.

A bin holds the fp32 numbers that agree in sign, exponent and the first 11 bits of the fraction, so that its edges lie
within 1/2048 of each other and bins of different projections are the same.
"""

from collections.abc import Mapping

import torch

SHIFT = 12  # bits of the 23 of a fraction that a bin leaves out
HALF = 1 << (31 - SHIFT)  # bins on either side of zero


def histogram(scores: torch.Tensor) -> torch.Tensor:
    """The bins that hold any of `scores`, the lowest first, and how many: int64 [2, B], on the CPU."""
    counts = torch.bincount((_in_order(scores.float().view(torch.int32).flatten()) >> SHIFT) + HALF, minlength=2 * HALF)
    bins = counts.nonzero().flatten()
    return torch.stack([bins - HALF, counts[bins]]).cpu()


def values(bins: torch.Tensor) -> torch.Tensor:
    """The number in the middle of each bin, fp64 [B]."""
    middle = (bins << SHIFT) + (1 << SHIFT) // 2
    return _in_order(middle.to(torch.int32)).view(torch.float32).double()


def lowest(histograms: Mapping[str, torch.Tensor], total: int) -> dict[str, float]:
    """How many of each projection are among the `total` lowest of all; of the bin where they end each an equal share.

    The numbers add up to `total` but are not whole.
    """
    counts = torch.zeros(2 * HALF, dtype=torch.int64)
    for bins, count in histograms.values():
        counts[bins + HALF] += count
    below = counts.cumsum(0)
    last = int(torch.searchsorted(below, total))  # the first bin with which there are enough
    if last == len(below):
        return {name: float(found[1].sum()) for name, found in histograms.items()}
    share = (total - int(below[last] - counts[last])) / max(int(counts[last]), 1)
    taken = {}
    for name, (bins, count) in histograms.items():
        whole = count[bins + HALF < last].sum()
        partial = count[bins + HALF == last].sum()
        taken[name] = float(whole + partial * share)
    return taken


def _in_order(bits: torch.Tensor) -> torch.Tensor:
    """The bits of fp32 numbers as int32 in the order of the numbers, and back: negative ones are mirrored."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
