"""Minimal pairs: how often a model finds the good sentence likelier than one that differs in a single phenomenon.

BLiMP (Warstadt et al. 2020, section 3): the accuracy of a set is the share of its pairs whose good sentence has the
higher log-likelihood, summed over its tokens and not normalised; the score is the mean over the 67 sets. A sentence is
scored whole, behind the token that a text begins with and without a space before it. A tie counts as wrong.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np

from evals import statistics
from evals.encoding import beginning
from evals.likelihood import log_likelihoods
from evals.measurement import Measurement
from evals.statistics import Estimate
from models.errors import RequestError
from models.loading import Loaded
from models.progress import Progress, part
from training.sources import open_text

FIELDS = ("sentence_good", "sentence_bad", "UID", "linguistics_term")


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences, the set they belong to, and the linguistic term that the set is an instance of."""

    good: str
    bad: str
    set: str
    term: str


def read_blimp(path: Path) -> list[MinimalPair]:
    """The pairs of a JSON-lines file in BLiMP's layout, plain or compressed."""
    with open_text(path) as file:
        return [MinimalPair(*(row[field] for field in FIELDS)) for row in map(json.loads, file)]


def by_set(pairs: Iterable[MinimalPair], most: int | None = None) -> dict[str, list[MinimalPair]]:
    """The pairs of each set, evenly spaced `most` of them where it has more."""
    sets: dict[str, list[MinimalPair]] = {}
    for pair in pairs:
        sets.setdefault(pair.set, []).append(pair)
    return {name: evenly(members, most) for name, members in sets.items()}


def evenly(items: Sequence, most: int | None) -> list:
    """At most so many of the items, evenly spaced; all where `most` is None."""
    size = min(most or len(items), len(items))
    return [items[at * len(items) // size] for at in range(size)]


def minimal_pairs(
    loaded: Loaded, pairs: Iterable[MinimalPair], most: int | None = None, progress: Progress | None = None
) -> list[Measurement]:
    """The accuracy in 0..1 over all sets, then that of each term, named `accuracy[TERM]`.

    `most` limits the pairs of each set. Raises RequestError if there is no pair, or a sentence does not fit the model.
    """
    sets = by_set(pairs, most)
    if not sets:
        raise RequestError("There is no minimal pair to score: check the file.")
    correct = {
        name: good_is_likelier(loaded, members, part(progress, at / len(sets), (at + 1) / len(sets)))
        for at, (name, members) in enumerate(sets.items())
    }
    terms: dict[str, list[str]] = {}
    for name, members in sets.items():
        terms.setdefault(members[0].term, []).append(name)
    overall = _measurement("accuracy", [correct[name] for name in sets])
    by_term = {term: [correct[name] for name in terms[term]] for term in sorted(terms)}
    return [overall, *(_measurement(f"accuracy[{term}]", answers) for term, answers in by_term.items())]


def good_is_likelier(loaded: Loaded, pairs: Sequence[MinimalPair], progress: Progress | None = None) -> np.ndarray:
    """For each pair [n] whether the good sentence is the likelier one."""
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    tails = loaded.tokenizer(sentences, add_special_tokens=False)["input_ids"]
    start = beginning(loaded.tokenizer)
    values = np.array(log_likelihoods(loaded.model, [(start, tail) for tail in tails], progress))
    return values[::2] > values[1::2]


def mean_over_sets(correct: Sequence[np.ndarray]) -> Estimate:
    """The mean of the sets' means, with the t interval of a stratified sample: sets are fixed, their pairs drawn."""
    estimates = [statistics.mean(answers) for answers in correct]
    value = float(np.mean([estimate.value for estimate in estimates]))
    known = all(estimate.stderr is not None for estimate in estimates)
    spread = sqrt(sum(estimate.stderr**2 for estimate in estimates)) / len(estimates) if known else None
    return statistics.around(value, spread, sum(estimate.n for estimate in estimates))


def _measurement(metric: str, correct: Sequence[np.ndarray]) -> Measurement:
    estimate = mean_over_sets(correct)
    protocol = {"name": "blimp", "sets": len(correct), "sentence": "whole, after the first token", "tie": "wrong"}
    return Measurement(metric, estimate.value, "", estimate.interval, estimate.stderr, estimate.n, protocol)
