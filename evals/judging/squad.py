"""Exact match and F1 of short answers, as SQuAD v1.1 and v2.0 define them.

v1.1: Rajpurkar et al. 2016, section 6.1. v2.0: Rajpurkar, Jia and Liang 2018, section 3, whose right answer to a
question that the context does not answer is the empty one.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")
Score = Callable[[str, Sequence[str]], float]


def normalise(answer: str) -> str:
    """Lower case, without punctuation, without articles, single spaces: in that order, as the official script does."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, references: Iterable[str]) -> float:
    """1.0 if the normalised answer equals a normalised reference, else 0.0."""
    return float(any(normalise(answer) == normalise(reference) for reference in references))


def token_f1(answer: str, references: Iterable[str]) -> float:
    """The best F1 of the multisets of words (normalised, split at spaces) over the references, in 0..1."""
    return max((_f1(normalise(answer).split(), normalise(reference).split()) for reference in references), default=0.0)


def with_no_answer(score: Score, answer: str, references: Sequence[str]) -> float:
    """A score of v1.1 as v2.0 takes it: where no reference says anything, 1.0 for an answer that says nothing.

    References that normalise to nothing count as none, and so does such an answer, as in the official script.
    """
    telling = [reference for reference in references if normalise(reference)]
    return score(answer, telling) if telling else float(not normalise(answer))


def answer_or_none(text: str, no_answer: str) -> str:
    """What a model wrote, or the empty answer where it wrote the words `no_answer` that stand for it."""
    return "" if normalise(text) == normalise(no_answer) else text


def _f1(answer: list[str], reference: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference)) if shared else 0.0
