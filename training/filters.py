"""Which documents are not worth training on: the quality and repetition rules of MassiveText, one function a rule.

Source of the rules and their limits: Rae et al. 2021, "Scaling Language Models: Gopher", appendix A.1.1 and table A1.
Each takes a document and the limits, and returns why the document is dropped, or None.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.errors import RequestError
from training.words import Document

LANGUAGES = ("en", "any")
MOST_WORDS = 100_000
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
STOP_WORD_SHARE = 0.05  # ours: they make up 15 to 20 % of English prose, and none of its neighbours'
MOST_FREQUENT_RUN = {2: 0.20, 3: 0.18, 4: 0.16}  # words in the run: share of the text's letters
REPEATED_RUNS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_SYMBOL = re.compile(r"\.\.\.|[#{}<>|\\=^~•…]")  # Gopher's `#` and ellipses, and the marks of code and markup
_LETTER = re.compile(r"[^\W\d_]")
_BULLETS = ("•", "-", "*", "‣")
_ELLIPSES = ("...", "…")


@dataclass(frozen=True)
class Limits:
    """What the person who builds a corpus decides: the shortest document (words), and the language (`en` or `any`)."""

    minimum_words: int = 50
    language: str = "en"

    def __post_init__(self) -> None:
        if self.minimum_words < 1 or self.language not in LANGUAGES:
            raise RequestError(f"Documents need at least one word, and a language of {', '.join(LANGUAGES)}.")


def length(document: Document, limits: Limits) -> str | None:
    """Fewer words than the limit, or more than 100,000."""
    count = len(document.words)
    if not limits.minimum_words <= count <= MOST_WORDS:
        return f"{count:,} words"
    return None


def word_length(document: Document, limits: Limits) -> str | None:
    """English words have 3 to 10 letters on average; tables of abbreviations and glued lines have not."""
    mean = sum(map(len, document.words)) / len(document.words)
    if limits.language == "en" and not 3 <= mean <= 10:
        return f"{mean:.1f} letters in a word"
    return None


def language(document: Document, limits: Limits) -> str | None:
    """English prose has at least two of eight function words, and they are at least a twentieth of its words."""
    if limits.language != "en":
        return None
    found = [word for word in document.words if word in STOP_WORDS]
    share = len(found) / len(document.words)
    if len(set(found)) < 2 or share < STOP_WORD_SHARE:
        return f"{share:.1%} of the words are English function words"
    return None


def letters(document: Document, limits: Limits) -> str | None:
    """At least four in five of what stands between spaces has a letter."""
    parts = document.text.split()
    share = sum(1 for part in parts if part.isalpha() or _LETTER.search(part)) / len(parts)
    if share < 0.8:
        return f"{share:.0%} of the words have a letter"
    return None


def symbols(document: Document, limits: Limits) -> str | None:
    """At most one symbol for ten words."""
    share = len(_SYMBOL.findall(document.text)) / len(document.words)
    if share > 0.1:
        return f"{share:.2f} symbols for each word"
    return None


def lists(document: Document, limits: Limits) -> str | None:
    """At most nine lines in ten begin with a bullet, and at most three in ten end with an ellipsis."""
    lines = _lines(document)
    bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
    if bullets > 0.9:
        return f"{bullets:.0%} of the lines begin with a bullet"
    if ellipses > 0.3:
        return f"{ellipses:.0%} of the lines end with an ellipsis"
    return None


def repeated_lines(document: Document, limits: Limits) -> str | None:
    """At most 30 % of the lines, and 20 % of their characters, have stood in the document before."""
    lines = _lines(document)
    different = set(lines)
    share = 1 - len(different) / len(lines)
    characters = 1 - sum(map(len, different)) / sum(map(len, lines))
    if share > 0.3 or characters > 0.2:
        return f"{share:.0%} of the lines, {characters:.0%} of their characters are repeated"
    return None


def frequent_run(document: Document, limits: Limits) -> str | None:
    """The letters in the most frequent run of 2, 3 or 4 words are at most 20, 18 or 16 % of the text's."""
    sizes = _sizes(document)
    for n, limit in MOST_FREQUENT_RUN.items():
        runs = document.runs[n]
        ordered = np.sort(runs)
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        counts = np.diff(starts, append=len(ordered))
        most = int(np.argmax(counts))
        if counts[most] < 2:
            continue
        place = int(np.argmax(runs == ordered[starts[most]]))
        share = counts[most] * sizes[place : place + n].sum() / sizes.sum()
        if share > limit:
            return f"one run of {n} words is {share:.0%} of the text"
    return None


def repeated_runs(document: Document, limits: Limits) -> str | None:
    """The letters in runs of 5 to 10 words that stood in the document before are at most 15 to 10 % of the text's."""
    sizes = _sizes(document)
    for n, limit in REPEATED_RUNS.items():
        runs = document.runs[n]
        ordered = np.sort(runs)
        several = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(several):
            return None  # then no longer run is repeated either
        places = np.flatnonzero(np.isin(runs, several))
        again = np.delete(places, np.unique(runs[places], return_index=True)[1])
        covered = np.zeros(len(sizes) + 1, dtype=np.int64)
        np.add.at(covered, again, 1)
        np.add.at(covered, again + n, -1)
        share = sizes[np.cumsum(covered[:-1]) > 0].sum() / sizes.sum()
        if share > limit:
            return f"repeated runs of {n} words are {share:.0%} of the text"
    return None


Filter = Callable[[Document, Limits], str | None]
FILTERS: tuple[Filter, ...] = (
    length, word_length, language, letters, symbols, lists, repeated_lines, frequent_run, repeated_runs,
)  # fmt: skip


def why_dropped(document: Document, limits: Limits) -> tuple[str, str] | None:
    """The name of the first filter that drops the document and its reason, or None."""
    for rule in FILTERS:
        if reason := rule(document, limits):
            return rule.__name__, reason
    return None


def _lines(document: Document) -> list[str]:
    return [line for line in document.text.split("\n") if line.strip()]


def _sizes(document: Document) -> np.ndarray:
    return np.fromiter(map(len, document.words), np.int64, len(document.words))
