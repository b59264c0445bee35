"""Open generation: how much a text repeats itself and how varied its words are.

All are counts of n-grams of words (`evals.judging.words`), so that models with different tokenizers compare. For a text with
N_n n-grams, V_n of them different, V_n(1) of these occurring once:

    distinct-n       V_n / N_n                                      Li et al. 2016, but of one text at a time
    seq-rep-4        1 - V_4 / N_4                                  Welleck et al. 2020
    repetition rate  (prod_{n=1..4} sum (V_n - V_n(1)) / sum V_n)^(1/4)   Cettolo, Bertoldi and Federico 2014

distinct-n and seq-rep-4 are means over the texts that have an n-gram; the sums of the repetition rate run over
stretches of 1000 words of all texts, so that a longer text does not repeat more for its length alone.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from evals.judging.counted import counted, left_out

ORDERS = (1, 2, 3)  # of distinct-n
RATE_ORDERS = (1, 2, 3, 4)
REPEATED = 4  # of seq-rep
STRETCH = 1000  # words


def ngrams(words: Sequence[str], n: int) -> Counter:
    """How often each run of n words occurs."""
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def distinct(words: Sequence[str], n: int) -> list[float]:
    """One text's `[distinct-n, 1]`; `[0, 0]` where it has fewer than n words."""
    found = ngrams(words, n)
    return counted(len(found) / found.total()) if found else left_out()


def sequence_repetition(words: Sequence[str], n: int = REPEATED) -> list[float]:
    """One text's `[seq-rep-n, 1]`; `[0, 0]` where it has fewer than n words."""
    varied, counts = distinct(words, n)
    return [counts - varied, counts]


def repetition(words: Sequence[str]) -> list[float]:
    """One text's four different n-grams that occur again within their stretch, and its four different n-grams [8]."""
    again, different = [0.0] * len(RATE_ORDERS), [0.0] * len(RATE_ORDERS)
    for start in range(0, len(words), STRETCH):
        for at, n in enumerate(RATE_ORDERS):
            found = ngrams(words[start : start + STRETCH], n)
            again[at] += sum(count > 1 for count in found.values())
            different[at] += len(found)
    return again + different


def repetition_rate(sums: np.ndarray) -> np.ndarray:
    """The repetition rate [...], 0 to 1, of sums [..., 8]; 0 where no text has four words."""
    again, different = np.split(np.asarray(sums, dtype=np.float64), 2, axis=-1)
    return (again / np.maximum(different, 1)).prod(-1) ** (1 / len(RATE_ORDERS))


def other_counts(sums: np.ndarray, n: int) -> np.ndarray:
    """What sums [8] of n texts may be if all are of another kind: no n-gram occurs again, or every one does [2, 8]."""
    different = np.maximum(sums[len(RATE_ORDERS) :], n)
    return np.stack([np.concatenate([again, different]) for again in (np.zeros_like(different), different)])
