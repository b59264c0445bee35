"""Intervals of figures whose samples were all alike: twenty right answers of twenty do not show that all will be right.

A resample of equal samples is their equal, so that the bootstrap of such a figure has no width, and Student's t has
none. What they do show is that other samples are rare: with 95 % confidence at most the share
`statistics.unseen_share(n)` (14 % for n = 20). The interval reaches to the figures that there would be if that share of
the samples were of another kind: every answer wrong, or right, or in any one cell of a confusion matrix. A figure tells
its kinds as the sums of statistics that it would have if every sample were of them.
"""

from collections.abc import Callable

import numpy as np

from evals import statistics
from evals.statistics import Estimate

Kinds = Callable[[np.ndarray, int], np.ndarray]  # sums [k] of n samples -> sums [m, k], all samples of each kind


def values_within(low: float, high: float) -> Kinds:
    """The kinds of a mean [1] whose samples lie between two values."""
    return lambda sums, n: n * np.array([[low], [high]])


def parts_within(low: float, high: float) -> Kinds:
    """The kinds of a sum over a count [2], of which each counted item adds between two values."""

    def kinds(sums: np.ndarray, n: int) -> np.ndarray:
        count = max(float(sums[1]), n)
        return count * np.array([[low, 1.0], [high, 1.0]])

    return kinds


def one_of_each(sums: np.ndarray, n: int) -> np.ndarray:
    """The kinds of sums that are counts of cells [k]: all samples in one cell, whichever."""
    return max(float(sums.sum()), n) * np.eye(len(sums))


def reach(value: Callable[[np.ndarray], np.ndarray], sums: np.ndarray, kinds: Kinds, n: int) -> tuple[float, float]:
    """The lowest and the highest figure with the share of n samples that may be of another kind; `value` is of sums."""
    share = statistics.unseen_share(n)
    others = np.asarray(value((1 - share) * sums + share * kinds(sums, n)), dtype=np.float64)
    seen = float(value(sums))
    return min(seen, float(others.min())), max(seen, float(others.max()))


def widened(value: float, interval: tuple[float, float], n: int) -> Estimate:
    """The estimate with that interval, and the standard error which it implies; without both if it has no width."""
    low, high = interval
    if not low < high:
        return Estimate(value, None, None, n)
    return Estimate(value, statistics.implied_stderr(interval), (min(low, value), max(high, value)), n)
