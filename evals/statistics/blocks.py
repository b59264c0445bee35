"""The interval of a figure of a text: its windows hang together, so they are drawn in blocks of neighbours.

Two windows of one article are alike, and an interval that takes them for independent is too narrow: on WikiText-2 by
almost half. Blocks of a seventh of the text keep the dependence within them. So few blocks say little about their own
spread, which the studentised bootstrap makes up for as Student's t does for means, and unlike t it allows for skewness.
How well each of these covers the truth is measured by `benchmarks/interval_coverage.py`.
"""

from math import exp

import numpy as np

from evals.statistics.estimates import CONFIDENCE, Estimate, ratio_of_sums, shows_spread
from evals.statistics.quantiles import student
from evals.statistics.resampling import RESAMPLES

BLOCKS = 7
LARGEST_LOG = 300.0  # of the ratio of an end of an interval to its middle
FEWEST = 8  # samples; with fewer, resamples of one sample alone are no rarity


def block_length(count: int) -> int:
    """How many neighbouring samples of `count` make a block."""
    return max(1, count // BLOCKS)


def block_ratio(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0, logarithmic: bool = False) -> Estimate:
    """sum(numerators) / sum(denominators) over n samples in the order of the text, each like its neighbours.

    The standard error is that of the circular block bootstrap (Politis and Romano 1992) of the linearised ratio, and
    the interval its studentised one (Götze and Künsch 1996), symmetric; with `logarithmic`, for a ratio that is
    positive and of skewed samples, symmetric in its logarithm. The same n and seed draw the same blocks, so that the
    difference of two models on the same windows, given as its numerators, is paired. With fewer than eight samples it
    is Student's t, as in `ratio_of_sums`. Samples that are all alike have no interval.
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    count = len(numerators)
    if count < FEWEST:
        found = ratio_of_sums(numerators, denominators)
        quantile = student((1 + CONFIDENCE) / 2, count - 1) if count > 1 else None
        return _estimate(found.value, found.stderr, quantile, count, logarithmic)
    length = block_length(count)
    ratio = float(numerators.sum() / denominators.sum())
    if not shows_spread(numerators - ratio * denominators, numerators):
        return Estimate(ratio, None, None, count)
    blocks = np.stack([_circular_sums(values, length) for values in (numerators, denominators)])
    error = float(_stderr(blocks, np.asarray(ratio), count / length))
    freedom = _freedom(count / length, length)
    starts = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, freedom + 1))
    resampled = blocks[:, starts]
    ratios = np.divide(*resampled.sum(-1))
    errors = _stderr(resampled, ratios, freedom + 1)
    deviations = np.abs(ratios - ratio)
    if logarithmic:
        deviations, errors = np.abs(np.log(ratios / ratio)), errors / ratios
    return _estimate(ratio, error, _quantile(deviations, errors, freedom), count, logarithmic)


def _estimate(ratio: float, error: float | None, quantile: float | None, count: int, logarithmic: bool) -> Estimate:
    if error is None or quantile is None:
        return Estimate(ratio, None, None, count)
    if logarithmic:
        factor = exp(min(quantile * error / ratio, LARGEST_LOG))
        return Estimate(ratio, error, (ratio / factor, ratio * factor), count)
    return Estimate(ratio, error, (ratio - quantile * error, ratio + quantile * error), count)


def _freedom(blocks: float, length: int) -> int:
    """The degrees of freedom of the spread of blocks that begin everywhere and so overlap.

    They are more than those of so many blocks side by side, by up to a half (Meketon and Schmeiser 1984): as many
    resampled blocks and one tell about as much of their own spread as the text tells of its.
    """
    return round((blocks - 1) * 3 * length**2 / (2 * length**2 + 1))


def _circular_sums(values: np.ndarray, length: int) -> np.ndarray:
    """The sums [n] of `length` neighbours from each place on, going on at the beginning after the end."""
    return sum(np.roll(values, -shift) for shift in range(length))


def _stderr(blocks: np.ndarray, ratios: np.ndarray, drawn: float) -> np.ndarray:
    # blocks [2, ..., k] of sums, ratios [...] -> [...], for `drawn` independent blocks
    residuals = blocks[0] - ratios[..., None] * blocks[1]
    return np.sqrt((residuals**2).mean(-1) / (drawn - 1)) / blocks[1].mean(-1)


def _quantile(deviations: np.ndarray, errors: np.ndarray, freedom: int) -> float:
    """The 95 % quantile of deviations in standard errors; Student's where too many resamples have no spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(deviations == 0, 0.0, deviations / errors)
    found = float(np.quantile(studentised, CONFIDENCE, method="higher"))
    return found if np.isfinite(found) else student((1 + CONFIDENCE) / 2, freedom)
