"""Translation: corpus BLEU and chrF as sacrebleu defines them (Post 2018), from statistics that add up over sentences.

BLEU (Papineni et al. 2002) and chrF (Popovic 2015) of a corpus are functions of sums over its sentences, so that a
resample of the sentences needs their sums alone. sacrebleu takes a sentence's statistics; what it makes of their sums
is done here for many resamples at once, with its defaults: for BLEU up to 4-grams, mixed case and exponential
smoothing of orders without a match, for chrF characters up to 6-grams, no words and beta 2. Both run from 0 to 100.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from evals.statistics.figures import Figure
from models.errors import RequestError

BLEU_ORDERS = 4
CHRF_ORDERS, CHRF_BETA = 6, 2
TOKENIZERS = {"zh": "zh"}  # sacrebleu's own for a target language; `13a` for those that put spaces between words
DEFAULT_TOKENIZER = "13a"


def bleu_statistics(written: str, references: Sequence[str], language: str) -> list[float]:
    """One sentence's `[length, reference's length, 4 x matched n-grams, 4 x n-grams]`.

    The reference whose length counts is the nearest one in length.
    """
    return _statistics(_metrics(language)["bleu"], written, references)


def chrf_statistics(written: str, references: Sequence[str]) -> list[float]:
    """One sentence's 6 x `[n-grams, n-grams of the reference, matched]`; of the reference with the best score."""
    return _statistics(_metrics("")["chrf"], written, references)


def bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU [...], 0 to 100, of sums [..., 10] of sentences' statistics."""
    sums = np.asarray(sums, dtype=np.float64)
    length, reference = sums[..., 0], sums[..., 1]
    matched, totals = sums[..., 2 : 2 + BLEU_ORDERS], sums[..., 2 + BLEU_ORDERS :]
    # Each order without a match counts half of what the one before it counted, 1 being the first.
    halvings = np.cumsum(matched == 0, axis=-1)
    counted = np.where(matched == 0, 0.5**halvings, matched)
    # A corpus too short to have 4-grams has BLEU 0, and so has one that shares not even a word with its references.
    scored = (totals > 0).all(-1) & (matched > 0).any(-1)
    precisions = np.where(scored[..., None], counted / np.maximum(totals, 1), 1.0)
    penalty = np.exp(np.minimum(0.0, 1 - reference / np.maximum(length, 1)))
    return np.where(scored, 100 * penalty * np.exp(np.log(precisions).mean(-1)), 0.0)


def chrf(sums: np.ndarray) -> np.ndarray:
    """Corpus chrF [...], 0 to 100, of sums [..., 18] of sentences' statistics.

    Precision and recall are means over the orders that both sides have n-grams of.
    """
    sums = np.asarray(sums, dtype=np.float64)
    orders = sums.reshape(*sums.shape[:-1], CHRF_ORDERS, 3)
    given, wanted, matched = orders[..., 0], orders[..., 1], orders[..., 2]
    known = (given > 0) & (wanted > 0)
    count = np.maximum(known.sum(-1), 1)
    precision, recall = (
        np.where(known, matched / np.maximum(total, 1), 0.0).sum(-1) / count for total in (given, wanted)
    )
    weighed = CHRF_BETA**2 * precision + recall
    return np.where(
        weighed > 0, 100 * (1 + CHRF_BETA**2) * precision * recall / np.where(weighed > 0, weighed, 1.0), 0.0
    )


def other_bleu(sums: np.ndarray, n: int) -> np.ndarray:
    """What sums [10] of n sentences may be if all are of another kind: no n-gram matches, or all do [2, 10]."""
    reference, totals = max(float(sums[1]), n), np.maximum(sums[2 + BLEU_ORDERS :], max(float(sums[1]), n))
    return np.stack([np.r_[reference, reference, matched, totals] for matched in (np.zeros(BLEU_ORDERS), totals)])


def other_chrf(sums: np.ndarray, n: int) -> np.ndarray:
    """What sums [18] of n sentences may be if all are of another kind: no n-gram matches, or all do [2, 18]."""
    wanted = np.maximum(sums.reshape(CHRF_ORDERS, 3)[:, 1], n)
    return np.stack([np.stack([wanted, wanted, hit * wanted], axis=-1).ravel() for hit in (0, 1)])


BLEU = Figure("bleu", bleu, others=other_bleu)
CHRF = Figure("chrf", chrf, others=other_chrf)


def signatures(language: str, references: Iterable[int]) -> dict[str, str]:
    """sacrebleu's signatures of both scores, by name, for sentences that have so many references each."""
    counts = sorted(set(references))
    # The signature tells of the references that were scored: one empty sentence for each count that there is.
    streams = [["" if at < count else None for count in counts] for at in range(max(counts))]
    found = {}
    for name, metric in _metrics(language).items():
        metric.corpus_score([""] * len(counts), streams)
        found[name] = str(metric.get_signature())
    return found


def _statistics(metric, written: str, references: Sequence[str]) -> list[float]:
    # What sacrebleu's own significance tests call; its public methods return scores, which do not add up.
    (found,) = metric._extract_corpus_statistics([written], [[reference] for reference in references])
    return [float(value) for value in found]


@cache
def _metrics(language: str) -> dict:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise RequestError("Translations are scored by sacrebleu: pip install -r requirements.txt.") from None
    # force: a warning about text that looks tokenized is not for what a model wrote.
    return {
        "bleu": metrics.BLEU(tokenize=TOKENIZERS.get(language, DEFAULT_TOKENIZER), force=True),
        "chrf": metrics.CHRF(),
    }
