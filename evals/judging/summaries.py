"""Summaries: ROUGE (Lin 2004) as the package rouge_score computes it, for any language.

For English its own tokenizer with Porter's stemmer, as in the papers that report ROUGE by this package. That tokenizer
drops every letter beyond ASCII, so all other languages get the words of `evals.judging.words` (Chinese characters one by one),
unstemmed. rougeLsum compares sentence by sentence and takes a line for a sentence: lines are broken after the marks
that end one. With several references each score is of the reference that gives the best.
"""

import re
from collections.abc import Sequence
from functools import cache

from evals.judging.words import words
from models.errors import RequestError

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")


def rouge(summary: str, references: Sequence[str], language: str = "en") -> dict[str, float]:
    """The F-measures of `TYPES`, in 0..1. RequestError if rouge_score is not installed."""
    scores = _scorer(language).score_multi([by_sentence(reference) for reference in references], by_sentence(summary))
    return {name: float(scores[name].fmeasure) for name in TYPES}


def protocol(language: str) -> dict:
    """What another person needs to know to take the same ROUGE. RequestError if rouge_score is not installed."""
    from importlib.metadata import version

    _scorer(language)
    own = language == "en"
    tokens = {"tokenizer": "rouge_score", "stemmer": "Porter"} if own else {"tokenizer": "words", "stemmer": "none"}
    return {"rouge_score": version("rouge_score"), **tokens, "references": "best of each"}


def by_sentence(text: str) -> str:
    """The text with one sentence a line."""
    return SENTENCE_END.sub("\n", text.strip()).strip()


class _Words:
    """The tokenizer that rouge_score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer(language: str):
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise RequestError("Summaries are scored by rouge_score: pip install -r requirements.txt.") from None
    return RougeScorer(list(TYPES), use_stemmer=language == "en", tokenizer=None if language == "en" else _Words())
