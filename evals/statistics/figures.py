"""A figure of a task, its spread, and the paired comparison of two models on it.

Every figure here is a function of sums over samples: each sample gives a small vector of sufficient statistics [k]
(a hit for accuracy; the matches, totals and lengths of BLEU; a cell of the confusion matrix for MCC), and `reduce`
makes the value of their sum. So one bootstrap serves all: a resample is a row of counts, how often each sample was
drawn, and all resamples are one matrix product. A comparison draws the same samples for both models, so that easy and
hard samples cancel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from evals import statistics
from evals.statistics import CONFIDENCE, Estimate, unseen
from evals.statistics.quantiles import normal
from evals.statistics.resampling import percentile_interval

RESAMPLES = 4000
RESAMPLES_AT_ONCE = 1 << 22  # counts of a piece of the matrix
Reduce = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Figure:
    """`reduce` makes values [...] of sums over samples [..., k]; a mean divides its single sum by the sample count.

    `reduce` is None for a mean, whose interval is Student's t, or Wilson's where every value is 0 or 1; `bounds` are
    what a sample of it can be (None: anything). `others` are the kinds of samples that bound another figure where all
    samples are alike (`evals.statistics.unseen`).
    """

    name: str
    reduce: Reduce | None = None
    unit: str = ""
    higher_is_better: bool = True
    bounds: tuple[float, float] | None = (0.0, 1.0)
    others: unseen.Kinds | None = None

    def value(self, sums: np.ndarray, samples: int) -> np.ndarray:
        """The figure [...] of sums [..., k] over so many samples."""
        return sums[..., 0] / samples if self.reduce is None else self.reduce(sums)

    def reach(self, samples: np.ndarray) -> tuple[float, float] | None:
        """How low and how high the figure may be though all samples [n, k] are alike; None if nothing bounds it."""
        count, sums = len(samples), samples.sum(0)
        kinds = self.others
        if self.reduce is None and self._bounds(samples[:, 0]):
            kinds = unseen.values_within(*self.bounds)
        if kinds is None or count < 2:
            return None
        return unseen.reach(lambda totals: self.value(totals, count), sums, kinds, count)

    def _bounds(self, values: np.ndarray) -> bool:
        return self.bounds is not None and self.bounds[0] <= values.min() and values.max() <= self.bounds[1]


def ratio_of_sums(sums: np.ndarray) -> np.ndarray:
    """The first of two sums [..., 2] over the second."""
    return sums[..., 0] / sums[..., 1]


class Comparison(NamedTuple):
    """The second model's figure less the first's, with the test of whether they differ.

    `p` is two-sided; `smallest` is the smallest true difference that this sample would show in four of five cases, None
    where the samples do not tell.
    """

    difference: Estimate
    test: str
    p: float | None
    smallest: float | None


def estimate(figure: Figure, samples: np.ndarray, seed: int = 0) -> Estimate:
    """The figure of samples [n, k] with its 95 % interval; without one where all are alike and nothing bounds it."""
    samples = np.asarray(samples, dtype=np.float64)
    count = len(samples)
    if figure.reduce is None:
        found = _mean(samples[:, 0])
    else:
        value = float(figure.value(samples.sum(0), max(count, 1)))
        found = percentile_interval(value, _replicates(figure, samples, seed), count)
        if figure.reduce is ratio_of_sums and found.interval is None and count > 1 and found.value in (0, 1):
            # A share whose clusters are all wrong or all right.
            return statistics.wilson(found.value * count, count)
    if found.interval is None and (reach := figure.reach(samples)):
        return unseen.widened(found.value, reach, count)
    return found


def compare(figure: Figure, first: np.ndarray, second: np.ndarray, seed: int = 0) -> Comparison:
    """How the second model differs from the first on the same samples [n, k], in the figure's unit."""
    first, second = (np.asarray(samples, dtype=np.float64) for samples in (first, second))
    count = len(first)
    shares = figure.reduce is None and count > 1 and bool(np.isin((first, second), (0, 1)).all())
    if shares:
        difference = _difference_of_shares(first[:, 0], second[:, 0])
    elif figure.reduce is None:
        difference = statistics.paired_difference(first[:, 0], second[:, 0])
    else:
        replicates = _replicates(figure, second, seed) - _replicates(figure, first, seed)
        values = [float(figure.value(samples.sum(0), count)) for samples in (first, second)]
        difference = percentile_interval(values[1] - values[0], replicates, count)
    if difference.interval is None and (reaches := (figure.reach(first), figure.reach(second))) and all(reaches):
        # Each may be anywhere that samples of another kind take it.
        (low, high), (other_low, other_high) = reaches
        difference = unseen.widened(difference.value, (other_low - high, other_high - low), count)
    smallest = statistics.smallest_difference(difference.stderr) if difference.stderr else None
    if shares:
        return Comparison(difference, "McNemar, exact", statistics.mcnemar(first[:, 0], second[:, 0]), smallest)
    if figure.reduce is None:
        replicates = _replicates(figure, second - first, seed)
    return Comparison(difference, "paired bootstrap", _p_value(replicates, count) if count > 1 else None, smallest)


def _mean(values: np.ndarray) -> Estimate:
    """Student's t; for shares Wilson's interval, which is honest near 0 and 1 too, where t has no width at all."""
    found = statistics.mean(values)
    if len(values) < 2 or not np.isin(values, (0, 1)).all():
        return found
    share = statistics.wilson(int(values.sum()), len(values))
    return share if found.stderr is None else found._replace(interval=share.interval)


def _difference_of_shares(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The difference of paired shares [n] with the interval of Bonett and Price (2012, equation 3).

    One is added to both counts of disagreement, so that samples without any do not pass for certainty. Where there is
    none, the interval is the exact one of how often there may be any.
    """
    count = len(first)
    if (first == second).all():
        share = statistics.unseen_share(count)
        return unseen.widened(0.0, (-share, share), count)
    gained, lost = (
        float(((second > first) if up else (second < first)).sum() + 1) / (count + 2) for up in (True, False)
    )
    stderr = sqrt((gained + lost - (gained - lost) ** 2) / (count + 2))
    half = normal((1 + CONFIDENCE) / 2) * stderr
    interval = (max(-1.0, gained - lost - half), min(1.0, gained - lost + half))
    return Estimate(float(second.mean() - first.mean()), stderr, interval, count)


def _replicates(figure: Figure, samples: np.ndarray, seed: int) -> np.ndarray:
    """The figure of every resample; the same seed and sample count draw the same resamples."""
    count = len(samples)
    if count < 2:
        return np.full(1, float(figure.value(samples.sum(0), max(count, 1))))
    generator = np.random.default_rng(seed)
    step = max(1, RESAMPLES_AT_ONCE // count)
    sums = []
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        drawn = generator.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        sums.append(counts.astype(np.float64) @ samples)
    return np.asarray(figure.value(np.concatenate(sums), count), dtype=np.float64)


def _p_value(replicates: np.ndarray, count: int) -> float:
    """Two-sided, with one added to both counts so that it is never 0 (Davison and Hinkley 1997, section 4.2).

    Nor is it below that of the exact sign test where all of `count` pairs point one way: few pairs that are all alike
    show no spread, and the resamples know no better.
    """
    size = len(replicates)
    below, above = (float((found + 1) / (size + 1)) for found in ((replicates <= 0).sum(), (replicates >= 0).sum()))
    return min(1.0, max(2 * min(below, above), 2 * 0.5**count))
