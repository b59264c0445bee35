"""Estimates of independent samples: means and ratios with Student's t, shares with Wilson's interval.

Samples that are all alike show no spread, which is no certainty: t has no interval for them. Where something bounds
what was not seen, `unseen_share` says how much of it there may be (`evals.statistics.unseen`).
"""

from math import sqrt
from typing import NamedTuple

import numpy as np

from evals.statistics.quantiles import normal, student

CONFIDENCE = 0.95
ROUNDING = 1e-12  # of the values; a spread that is smaller is none


class Estimate(NamedTuple):
    """A value with its standard error and 95 % interval (None where the samples show no spread)."""

    value: float
    stderr: float | None
    interval: tuple[float, float] | None
    n: int


def mean(values: np.ndarray) -> Estimate:
    """The mean of independent values [n], with its t interval; without one where all are alike."""
    values = np.asarray(values, dtype=np.float64)
    return _mean(values, values)


def ratio_of_sums(numerators: np.ndarray, denominators: np.ndarray) -> Estimate:
    """sum(numerators) / sum(denominators) over n independent pairs, with a t interval.

    The standard error is that of the linearised ratio (Cochran 1977, Sampling Techniques, section 6.4).
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    count, total = len(numerators), float(denominators.sum())
    ratio = float(numerators.sum()) / total
    residuals = numerators - ratio * denominators
    if not shows_spread(residuals, numerators):
        return Estimate(ratio, None, None, count)
    return around(ratio, float(sqrt(count / (count - 1) * (residuals**2).sum()) / total), count)


def wilson(hits: float, n: int) -> Estimate:
    """The share `hits` / `n` of independent trials, with Wilson's score interval (Wilson 1927).

    It stays within 0 and 1 and keeps its coverage where n is small or the share is near 0 or 1. Where the share is 0 or
    1, the standard error is the one that such an interval would have. ValueError unless 0 <= hits <= n and n >= 1.
    """
    if not (n >= 1 and 0 <= hits <= n):
        raise ValueError(f"{hits} hits of {n} trials")
    share = hits / n
    z = normal((1 + CONFIDENCE) / 2)
    spread = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / spread
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / spread
    interval = (max(0.0, centre - half) if hits else 0.0, min(1.0, centre + half) if hits < n else 1.0)
    stderr = sqrt(share * (1 - share) / n) if 0 < hits < n else implied_stderr(interval)
    return Estimate(share, stderr, interval, n)


def unseen_share(n: int) -> float:
    """How much of the whole at most, with 95 % confidence, is of another kind than all n independent samples were.

    The exact bound of Clopper and Pearson (1934) for none of n, about 3 / n: (1 - share)^n = 5 %.
    """
    return 1 - (1 - CONFIDENCE) ** (1 / n)


def implied_stderr(interval: tuple[float, float]) -> float:
    """The standard error of a normal estimate with that 95 % interval."""
    return (interval[1] - interval[0]) / (2 * normal((1 + CONFIDENCE) / 2))


def shows_spread(deviations: np.ndarray, values: np.ndarray) -> bool:
    """Whether there are two samples or more and they deviate by more than rounding errors of the `values`."""
    largest = float(np.abs(values).max(initial=0.0))
    return len(deviations) > 1 and float(np.abs(deviations).max()) > ROUNDING * largest


def around(value: float, stderr: float | None, n: int) -> Estimate:
    """The t interval of `n` samples around a value whose standard error is known; none where that is 0."""
    if not stderr:
        return Estimate(value, None, None, n)
    half = student((1 + CONFIDENCE) / 2, n - 1) * stderr
    return Estimate(value, stderr, (value - half, value + half), n)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The mean of second - first over the same n samples, with its t interval: what they share cancels."""
    first, second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    return _mean(second - first, np.concatenate([first, second]))


def _mean(values: np.ndarray, measured: np.ndarray) -> Estimate:
    # `measured` are the numbers whose rounding the values carry
    centre = float(values.mean())
    spread = shows_spread(values - centre, measured)
    return around(centre, float(values.std(ddof=1) / sqrt(len(values))) if spread else None, len(values))
