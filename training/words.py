"""Words of a text as numbers, and the hashes of all runs of n words: what repetitions and test texts are found by."""

import re
from functools import cached_property
from hashlib import blake2b

import numpy as np

# Chinese characters and kana are written without spaces: each is a word of its own.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying by it loses nothing
LONGEST_RUN = 13  # words: of test texts (GPT-3, Brown et al. 2020, appendix C)
_MOST_REMEMBERED = 1 << 19  # words whose hashes are kept at hand: about 60 MB


class _Hashes(dict):
    """The 64-bit hash of a word, worked out once: the same on every machine and in every process."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        value = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value


_HASHES = _Hashes()


class Document:
    """A text with its words, worked out when first asked for: filters, duplicates and test texts share them."""

    def __init__(self, text: str):
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """The words in lower case, without punctuation."""
        return words(self.text)

    @cached_property
    def runs(self) -> dict[int, np.ndarray]:
        """The hashes of all runs of n words, for n to `LONGEST_RUN`: uint64 [words - n + 1]."""
        return run_hashes(word_hashes(self.words), LONGEST_RUN)


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return WORD.findall(text.lower())


def word_hashes(found: list[str]) -> np.ndarray:
    """The hash of each word, uint64 [words]."""
    return np.fromiter(map(_HASHES.__getitem__, found), np.uint64, len(found))


def run_hashes(hashes: np.ndarray, longest: int) -> dict[int, np.ndarray]:
    """For each n up to `longest`, the hash of every run of n words: uint64 [words - n + 1], empty if there are fewer.

    A polynomial in the hashes of the words modulo 2^64 (Karp and Rabin, 1987): one multiplication and one addition
    for each word and n. The high bits are the good ones; the lowest do not know the order of the words.
    """
    runs: dict[int, np.ndarray] = {}
    total = np.zeros_like(hashes)
    for n in range(1, longest + 1):
        total = total[: max(len(hashes) - n + 1, 0)] * _BASE + hashes[n - 1 :]
        runs[n] = total
    return runs
