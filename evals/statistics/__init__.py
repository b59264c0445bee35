"""Spread and decisions: intervals for means, shares, ratios, medians and whole texts, and when a difference is noise.

All intervals are 95 % intervals. Means of independent values get Student's t, which keeps its coverage for a dozen
values, where a percentile bootstrap is too narrow; shares get Wilson's interval; medians and their ratios get the
percentile bootstrap (Efron and Tibshirani 1993, chapter 13); figures of a text, whose windows hang together, get the
studentised block bootstrap (`evals.statistics.blocks`). No interval has the width 0: samples that are all alike say at
most how rare others are (`unseen_share`), and where nothing bounds what those would be, there is no interval.
"""

from evals.statistics.blocks import block_ratio
from evals.statistics.decisions import holm, mcnemar, smallest_difference, verdict
from evals.statistics.estimates import (
    CONFIDENCE,
    Estimate,
    around,
    implied_stderr,
    mean,
    paired_difference,
    ratio_of_sums,
    unseen_share,
    wilson,
)
from evals.statistics.resampling import RESAMPLES, bootstrap, median, ratio_of_medians

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "Estimate",
    "around",
    "block_ratio",
    "bootstrap",
    "holm",
    "implied_stderr",
    "mcnemar",
    "mean",
    "median",
    "paired_difference",
    "ratio_of_medians",
    "ratio_of_sums",
    "smallest_difference",
    "unseen_share",
    "verdict",
    "wilson",
]
