"""Spread: intervals for means, ratios and medians, paired differences, and when a difference is noise.

All intervals are 95 % intervals. Means of windows get Student's t, which keeps its coverage for the dozen windows of
a small text, where a percentile bootstrap is too narrow; medians and their ratios get the percentile bootstrap
(Efron and Tibshirani 1993, chapter 13). A window of a text is already a block of hundreds of dependent tokens, so an
interval over windows is a block (batch means) interval over tokens.
"""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
RESAMPLES = 4000


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
    """sum(numerators) / sum(denominators) over n pairs, with a t interval.

    The standard error is that of the linearised ratio (Cochran 1977, Sampling Techniques, section 6.4).
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    count, total = len(numerators), float(denominators.sum())
    ratio = float(numerators.sum()) / total
    residuals = numerators - ratio * denominators
    stderr = float(sqrt(count / (count - 1) * (residuals**2).sum()) / total) if count > 1 else None
    return around(ratio, stderr, count)


def around(value: float, stderr: float | None, n: int) -> Estimate:
    """The t interval of `n` samples around a value whose standard error is known."""
    if stderr is None:
        return Estimate(value, None, None, n)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * stderr
    return Estimate(value, stderr, (value - half, value + half), n)


def paired_difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The mean of second - first over the same n windows, with its t interval: what they share cancels."""
    return mean(np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64))


def median(values: np.ndarray, seed: int = 0) -> Estimate:
    """The median of values [n], with its bootstrap interval."""
    return bootstrap(np.asarray(values, dtype=np.float64), lambda rows: np.median(rows, axis=-1), seed)


def ratio_of_medians(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0) -> Estimate:
    """median(numerators) / median(denominators) over n interleaved rounds, with its bootstrap interval.

    Rounds are drawn whole, so that a slow spell of the machine, which meets both, does not widen the interval.
    """
    rounds = np.stack([np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)])
    return bootstrap(rounds, lambda rows: np.divide(*np.median(rows, axis=-1)), seed)


def bootstrap(samples: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Estimate:
    """A statistic of samples [..., n] with its percentile bootstrap interval; the last axis is drawn anew.

    `statistic` reduces the last axis and must take [..., resamples, n]. The same seed gives the same interval.
    """
    count = samples.shape[-1]
    value = float(statistic(samples))
    if count < 2:
        return Estimate(value, None, None, count)
    drawn = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))
    replicates = statistic(samples[..., drawn])
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(replicates.std(ddof=1)), (float(low), float(high)), count)


def verdict(interval: tuple[float, float] | None, neutral: float) -> str:
    """A difference in words: `higher`, `lower`, or `within noise` where its interval holds the neutral value."""
    if interval is None:
        return "spread unknown"
    low, high = interval
    if low <= neutral <= high:
        return "no difference" if low == high else "within noise"
    return "higher" if low > neutral else "lower"
