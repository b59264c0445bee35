"""Estimates of independent samples: means and ratios with Student's t, shares with Wilson's interval."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from evals.statistics.quantiles import normal, student

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A value with its standard error and 95 % interval (None where fewer than two samples show no spread)."""

    value: float
    stderr: float | None
    interval: tuple[float, float] | None
    n: int


def mean(values: np.ndarray) -> Estimate:
    """The mean of independent values [n], with its t interval."""
    values = np.asarray(values, dtype=np.float64)
    centre = float(values.mean())
    stderr = float(values.std(ddof=1) / sqrt(len(values))) if len(values) > 1 else None
    return around(centre, stderr, len(values))


def ratio_of_sums(numerators: np.ndarray, denominators: np.ndarray) -> Estimate:
    """sum(numerators) / sum(denominators) over n independent pairs, with a t interval.

    The standard error is that of the linearised ratio (Cochran 1977, Sampling Techniques, section 6.4).
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    count, total = len(numerators), float(denominators.sum())
    ratio = float(numerators.sum()) / total
    residuals = numerators - ratio * denominators
    stderr = float(sqrt(count / (count - 1) * (residuals**2).sum()) / total) if count > 1 else None
    return around(ratio, stderr, count)


def wilson(hits: float, n: int) -> Estimate:
    """The share `hits` / `n` of independent trials, with Wilson's score interval (Wilson 1927).

    It stays within 0 and 1 and keeps its coverage where n is small or the share is near 0 or 1, and has a width where
    the share is 0 or 1, whose standard error is 0. ValueError unless 0 <= hits <= n and n >= 1.
    """
    if not (n >= 1 and 0 <= hits <= n):
        raise ValueError(f"{hits} hits of {n} trials")
    share = hits / n
    z = normal((1 + CONFIDENCE) / 2)
    spread = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / spread
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / spread
    interval = (max(0.0, centre - half) if hits else 0.0, min(1.0, centre + half) if hits < n else 1.0)
    return Estimate(share, sqrt(share * (1 - share) / n), interval, n)


def around(value: float, stderr: float | None, n: int) -> Estimate:
    """The t interval of `n` samples around a value whose standard error is known."""
    if stderr is None:
        return Estimate(value, None, None, n)
    half = student((1 + CONFIDENCE) / 2, n - 1) * stderr
    return Estimate(value, stderr, (value - half, value + half), n)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The mean of second - first over the same n samples, with its t interval: what they share cancels."""
    return mean(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64))
