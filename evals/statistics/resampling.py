"""The percentile bootstrap, for medians and for whatever else is no mean."""

from collections.abc import Callable

import numpy as np

from evals.statistics.estimates import CONFIDENCE, Estimate

RESAMPLES = 4000


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
