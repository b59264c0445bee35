"""The interval of a figure of a text: its windows hang together, so they are drawn in blocks of neighbours.

Two windows of one article are alike, and an interval that takes them for independent is too narrow: on WikiText-2 by
almost half. Blocks of a seventh of the text keep the dependence within them. So few blocks say little about their own
spread, which the studentised bootstrap makes up for as Student's t does for means, and unlike t it heeds skewness.
How well each of these covers the truth is measured by `benchmarks/interval_coverage.py`.
"""

import numpy as np
from scipy.special import stdtrit

from evals.statistics.estimates import CONFIDENCE, Estimate, ratio_of_sums
from evals.statistics.resampling import RESAMPLES

BLOCKS = 7
FEWEST = 8  # samples; with fewer, resamples of one sample alone are no rarity


def block_length(count: int) -> int:
    """How many neighbouring samples of `count` make a block."""
    return max(1, count // BLOCKS)


def block_ratio(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0) -> Estimate:
    """sum(numerators) / sum(denominators) over n samples in the order of the text, each like its neighbours.

    The standard error is that of the circular block bootstrap (Politis and Romano 1992) of the linearised ratio, and
    the interval its studentised one (Götze and Künsch 1996), symmetric. The same n and seed draw the same blocks, so
    that the difference of two models on the same windows, given as its numerators, is paired. With fewer than eight
    samples it is `ratio_of_sums`.
    """
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    count = len(numerators)
    if count < FEWEST:
        return ratio_of_sums(numerators, denominators)
    length = block_length(count)
    ratio = float(numerators.sum() / denominators.sum())
    blocks = np.stack([_circular_sums(values, length) for values in (numerators, denominators)])
    drawn = _freedom(count / length, length) + 1
    starts = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, drawn))
    errors = _stderr(blocks, np.asarray(ratio), count / length)
    if errors == 0:
        return Estimate(ratio, 0.0, (ratio, ratio), count)
    resampled = blocks[:, starts]
    ratios = np.divide(*resampled.sum(-1))
    half = float(errors) * _quantile(np.abs(ratios - ratio), _stderr(resampled, ratios, drawn), drawn)
    return Estimate(ratio, float(errors), (ratio - half, ratio + half), count)


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


def _quantile(deviations: np.ndarray, errors: np.ndarray, drawn: int) -> float:
    """The 95 % quantile of deviations in standard errors; Student's where too many resamples have no spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.where(deviations == 0, 0.0, deviations / errors)
    found = float(np.quantile(studentised, CONFIDENCE, method="higher"))
    return found if np.isfinite(found) else float(stdtrit(drawn - 1, (1 + CONFIDENCE) / 2))
