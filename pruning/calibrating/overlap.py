"""Whether a text was seen in calibration: a sketch of the calibration windows' n-grams, small enough to be kept.

The sketch is the k smallest hashes of all distinct n-grams (bottom-k sampling; Cohen & Kaplan, "Summarizing data using
bottom-k sketches", 2007). It holds every n-gram whose hash lies below its largest, so among the n-grams of another
text that hash as low, the share that is in the sketch estimates the share of that text's n-grams that were seen.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pruning.calibrating.windows import Windows


NGRAM = 8  # tokens; shorter ones are shared by unrelated texts
KEPT = 512
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: Knuth's multiplicative hashing


@dataclass(frozen=True)
class Sketch:
    """The smallest hashes of the distinct n-grams, rising, uint64; `whole` if there were no others."""

    hashes: np.ndarray
    whole: bool

    def covers(self, tokens: Sequence[int]) -> float:
        """The share of the distinct n-grams of a text, given as token ids, that were seen: an estimate, 0 to 1."""
        asked = _hashes([tokens])
        if not self.whole:
            asked = asked[asked <= self.hashes[-1]]
        return float(np.isin(asked, self.hashes).mean()) if len(asked) else 0.0

    def as_dict(self) -> dict:
        """The sketch as JSON types: the hashes as base64 of little-endian 64-bit integers."""
        hashes = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode()
        return {"ngram": NGRAM, "whole": self.whole, "hashes": hashes}

    @classmethod
    def from_dict(cls, sketch: dict) -> "Sketch":
        """The sketch that `as_dict` wrote."""
        return cls(np.frombuffer(base64.b64decode(sketch["hashes"]), dtype="<u8"), sketch["whole"])


def sketch(windows: "Windows") -> Sketch:
    """The sketch of the calibration windows."""
    rows = (ids[mask].tolist() for batch in windows.batches for ids, mask in zip(batch.ids, batch.mask, strict=True))
    hashes = _hashes(rows)
    return Sketch(hashes[:KEPT], len(hashes) <= KEPT)


def _hashes(rows: Iterable[Sequence[int]]) -> np.ndarray:
    """The hashes of the distinct n-grams of some rows of token ids, rising."""
    found = [np.zeros(0, dtype=np.uint64)]
    for row in rows:
        tokens = np.asarray(row, dtype=np.uint64)
        count = len(tokens) - NGRAM + 1
        if count < 1:
            continue
        hashes = np.zeros(count, dtype=np.uint64)
        for place in range(NGRAM):
            hashes = _mix(hashes ^ (tokens[place : place + count] + np.uint64(1)))
        found.append(hashes)
    return np.unique(np.concatenate(found))


def _mix(hashes: np.ndarray) -> np.ndarray:
    # Multiplying moves entropy up only; the shifts bring it down again.
    hashes = (hashes ^ (hashes >> np.uint64(32))) * MULTIPLIER
    return hashes ^ (hashes >> np.uint64(29))
