"""The percentile bootstrap, for medians and for whatever else is no mean."""

from collections.abc import Callable

import numpy as np

from evals.statistics.estimates import CONFIDENCE, ROUNDING, Estimate, implied_stderr, shows_spread

RESAMPLES = 4000


def median(values: np.ndarray, seed: int = 0) -> Estimate:
    """The median of values [n], with its bootstrap interval; without one where all are alike."""
    return bootstrap(np.asarray(values, dtype=np.float64), lambda rows: np.median(rows, axis=-1), seed)


def ratio_of_medians(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0) -> Estimate:
    """median(numerators) / median(denominators) over n interleaved rounds, with its bootstrap interval.

    Rounds are drawn whole, so that a slow spell of the machine, which meets both, does not widen the interval.
    """
    rounds = np.stack([np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)])
    return bootstrap(rounds, lambda rows: np.divide(*np.median(rows, axis=-1)), seed)


def bootstrap(samples: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Estimate:
    """A statistic of samples [..., n] with its percentile bootstrap interval; the last axis is drawn anew.

    `statistic` reduces the last axis and must take [..., resamples, n]. The same seed gives the same interval. Where
    the resamples agree though the samples do not, as for the median of mostly equal ones, the interval is that of the
    statistic of single samples; where these agree too, there is none.
    """
    count = samples.shape[-1]
    value = float(statistic(samples))
    if count < 2:
        return Estimate(value, None, None, count)
    drawn = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))
    replicates = statistic(samples[..., drawn])
    found = percentile_interval(value, replicates, count)
    if found.interval is None:
        single = statistic(samples[..., None])
        if shows_spread(single - value, single):
            interval = (min(value, float(single.min())), max(value, float(single.max())))
            return Estimate(value, implied_stderr(interval), interval, count)
    return found


def percentile_interval(value: float, replicates: np.ndarray, count: int) -> Estimate:
    """A value of `count` samples with the percentile interval of its resamples; without one where they all agree."""
    low, high = (float(end) for end in np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    if count < 2 or high - low <= ROUNDING * float(np.abs(replicates).max()):
        return Estimate(value, None, None, count)
    return Estimate(value, float(replicates.std(ddof=1)), (low, high), count)
