"""Texts of test sets found in documents, by runs of words in common, and cut out of them.

Prose is compared by runs of 13 words, as in GPT-3 (Brown et al. 2020, appendix C). A test sentence of 6 to 12 words is
found as a whole; shorter ones anyone may have written. Case, spacing and punctuation do not count. Of a document, the
paragraphs (lines) that hold such a run are cut; where less than half of it would be left, it is dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from models.storage.files import new_folder
from training.test_sets import HeldOutSet
from training.words import LONGEST_RUN, Document, run_hashes, word_hashes, words

SHORTEST = 6  # words of a test sentence that is looked for
KEPT_SHARE = 0.5
_SIEVE_BITS = 24
_TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class Passage:
    """A line of a document that holds a text of the test sets of these indices."""

    line: int
    text: str
    sets: tuple[int, ...]


class HeldOutTexts:
    """The runs of words of all test sets: their hashes (uint64, sorted) and the sets that hold each (a bit a set).

    A hash is first looked up in a sieve by its top 24 bits, which turns away nearly all runs of an ordinary text.
    """

    def __init__(self, hashes: np.ndarray, holders: np.ndarray):
        self.hashes, self.holders = hashes, holders
        self.sieve = np.zeros(1 << _SIEVE_BITS, dtype=bool)
        self.sieve[self._sieve_place(hashes)] = True

    @classmethod
    def read(cls, root: Path, sets: tuple[HeldOutSet, ...]) -> "HeldOutTexts":
        """The runs of those sets, whose files are below `root`."""
        found = [np.unique(np.concatenate([*_runs(s.read(Path(root) / s.path), s.sentences), _NOTHING])) for s in sets]
        hashes, places = np.unique(np.concatenate([*found, _NOTHING]), return_inverse=True)
        bits = np.repeat(np.uint32(1) << np.arange(len(sets), dtype=np.uint32), [len(runs) for runs in found])
        holders = np.zeros(len(hashes), dtype=np.uint32)
        np.bitwise_or.at(holders, places, bits)
        return cls(hashes, holders)

    def save(self, folder: Path) -> None:
        """Writes the table to a new folder, for `load` in other processes."""
        with new_folder(folder) as temporary:
            np.save(temporary / "hashes.npy", self.hashes)
            np.save(temporary / "holders.npy", self.holders)

    @classmethod
    def load(cls, folder: Path) -> "HeldOutTexts":
        """The table in a folder, memory-mapped, so that processes share it."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hashes", "holders")))

    def count(self, index: int) -> int:
        """How many different runs the test set of this index has."""
        return int((self.holders & np.uint32(1 << index) != 0).sum())

    def find(self, document: Document) -> list[Passage]:
        """The lines of a document that hold a run of a test set."""
        hits = [(int(start), n, int(holders)) for n in range(SHORTEST, LONGEST_RUN + 1)
                for start, holders in self._hits(document.runs[n])]  # fmt: skip
        if not hits:
            return []
        lines = document.text.split("\n")
        line_of = np.repeat(np.arange(len(lines)), [len(words(line)) for line in lines])
        holders_of: dict[int, int] = {}
        for start, n, holders in hits:
            for line in set(line_of[start : start + n].tolist()):
                holders_of[line] = holders_of.get(line, 0) | holders
        return [
            Passage(line, lines[line], tuple(bit for bit in range(32) if holders >> bit & 1))
            for line, holders in sorted(holders_of.items())
        ]

    def _hits(self, runs: np.ndarray) -> Iterator[tuple[int, int]]:
        likely = np.flatnonzero(self.sieve[self._sieve_place(runs)])
        places = np.searchsorted(self.hashes, runs[likely])
        places[places == len(self.hashes)] = 0
        true = self.hashes[places] == runs[likely] if len(likely) else []
        return zip(likely[true], self.holders[places[true]], strict=True)

    @staticmethod
    def _sieve_place(hashes: np.ndarray) -> np.ndarray:
        return (hashes >> np.uint64(64 - _SIEVE_BITS)).astype(np.int64)


def without(document: Document, passages: list[Passage]) -> Document | None:
    """The document without those lines; None if less than half of its words would be left."""
    cut = {passage.line for passage in passages}
    lines = [line for number, line in enumerate(document.text.split("\n")) if number not in cut]
    rest = Document("\n".join(lines).strip())
    return rest if len(rest.words) >= KEPT_SHARE * len(document.words) else None


_NOTHING = np.zeros(0, dtype=np.uint64)


def _runs(texts: Iterator[str], sentences: bool) -> Iterator[np.ndarray]:
    while batch := [found for found in map(words, islice(texts, _TEXTS_AT_ONCE)) if found]:
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        ends = np.cumsum(lengths)
        end_of_text = np.repeat(ends, lengths)
        runs = run_hashes(word_hashes([word for found in batch for word in found]), LONGEST_RUN)
        starts = np.arange(len(runs[LONGEST_RUN]))
        yield runs[LONGEST_RUN][starts + LONGEST_RUN <= end_of_text[: len(starts)]]
        for n in range(SHORTEST, LONGEST_RUN) if sentences else ():
            yield runs[n][(ends - lengths)[lengths == n]]
