"""Whether two models differ: tests, their correction for many tasks, what a sample could show, and the words for it."""

from collections.abc import Sequence

import numpy as np

from evals.statistics.estimates import CONFIDENCE
from evals.statistics.quantiles import binomial, normal


def verdict(interval: tuple[float, float] | None, neutral: float, value: float | None = None) -> str:
    """A difference in words: `higher`, `lower`, or `within noise` where its interval holds the neutral value.

    Without an interval `no difference seen` where the `value` is the neutral one.
    """
    if interval is None:
        return "no difference seen" if value == neutral else "spread unknown"
    low, high = interval
    if low <= neutral <= high:
        return "no difference" if low == high else "within noise"  # of files that an older version wrote
    return "higher" if low > neutral else "lower"


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> float:
    """The two-sided p of the exact McNemar test that two models are right equally often, from their hits [n].

    Only the samples on which they disagree count: under the hypothesis each goes either way with probability 1/2
    (McNemar 1947; the exact binomial form). 1.0 where they never disagree.
    """
    first, second = (np.asarray(hits) != 0 for hits in (first, second))
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return float(min(1.0, 2 * binomial(min(gained, lost), gained + lost, 0.5)))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The p values [n], in their order, corrected by Holm's step-down procedure (Holm 1979) for being n tests.

    Rejecting where the corrected p is at most 5 % keeps the chance of any false rejection among them at 5 %.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def smallest_difference(stderr: float, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided 5 % test shows with this `power`, in the standard error's unit.

    (z_0.975 + z_power) standard errors, the minimum detectable effect of Bloom (1995): 2.80 of them for 80 %.
    """
    return (normal((1 + CONFIDENCE) / 2) + normal(power)) * stderr
