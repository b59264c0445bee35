"""Documents that have been seen before, word for word or nearly so, in memory that does not grow with their number.

Nearly the same: the sets of all runs of five words have a Jaccard similarity of at least 0.8, as MinHash estimates it
(Broder 1997; the permutations are datasketch's). Which pairs are compared at all is decided by locality-sensitive
hashing: a signature of 120 values is cut into 20 bands of 6, and two documents with a band in common are compared. A
pair of similarity 0.8 is compared with probability 1 - (1 - 0.8^6)^20 = 0.998, one of 0.5 with 0.27.
Signatures and bands lie on disk in an SQLite file: memory holds its page cache alone.
"""

import sqlite3
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np

from training.words import Document

BANDS, ROWS = 20, 6
SHINGLE = 5  # words
SIMILAR = 0.8
SLICE = 2048  # runs hashed at once: their permuted values stay in the processor's cache
MOST_COMPARED = 64  # documents that share one band: more is boilerplate, compared in vain

SCHEMA = """
CREATE TABLE IF NOT EXISTS exact (digest BLOB PRIMARY KEY, document INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS band (key INTEGER, document INTEGER, PRIMARY KEY (key, document)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signature (document INTEGER PRIMARY KEY, hashes BLOB);
"""


@dataclass(frozen=True)
class Fingerprint:
    """What a document is recognised by: a digest of its words, and its MinHash signature (uint32 [120], as bytes)."""

    digest: bytes
    signature: bytes


@dataclass(frozen=True)
class Match:
    """An earlier document that this one repeats: its number, and the similarity (1.0 where word for word)."""

    kind: str  # exact or near
    document: int
    similarity: float


def fingerprint(document: Document) -> Fingerprint:
    """The fingerprint of a document of at least one word; case, spacing and punctuation do not count."""
    digest = blake2b(" ".join(document.words).encode(), digest_size=16).digest()
    shingles = document.runs[min(SHINGLE, len(document.words))]
    return Fingerprint(digest, _signature(shingles >> np.uint64(32)).astype("<u4").tobytes())


def similarity(one: bytes, other: bytes) -> float:
    """The estimated Jaccard similarity of two signatures: the fraction of equal values."""
    return float((np.frombuffer(one, "<u4") == np.frombuffer(other, "<u4")).mean())


class SeenDocuments:
    """All documents kept so far, in an open SQLite database. Its owner commits."""

    def __init__(self, database: sqlite3.Connection):
        self.database = database
        database.executescript(SCHEMA)

    def find(self, seen: Fingerprint) -> Match | None:
        """The earliest document that this fingerprint repeats, or None."""
        row = self.database.execute("SELECT document FROM exact WHERE digest = ?", (seen.digest,)).fetchone()
        if row:
            return Match("exact", row[0], 1.0)
        candidates = set()
        for key in band_keys(seen.signature):
            candidates.update(self.database.execute(
                "SELECT document FROM band WHERE key = ? ORDER BY document LIMIT ?", (key, MOST_COMPARED)
            ))  # fmt: skip
        for (document,) in sorted(candidates):
            (signature,) = self.database.execute(
                "SELECT hashes FROM signature WHERE document = ?", (document,)
            ).fetchone()
            found = similarity(seen.signature, signature)
            if found >= SIMILAR:
                return Match("near", document, found)
        return None

    def add(self, number: int, seen: Fingerprint) -> None:
        """Remembers the document `number`, which repeats none."""
        self.database.execute("INSERT INTO exact VALUES (?, ?)", (seen.digest, number))
        self.database.execute("INSERT INTO signature VALUES (?, ?)", (number, seen.signature))
        keys = [(key, number) for key in band_keys(seen.signature)]
        self.database.executemany("INSERT INTO band VALUES (?, ?)", keys)


def band_keys(signature: bytes) -> list[int]:
    """One signed 64-bit number for each band, different for equal values in different bands."""
    width = len(signature) // BANDS
    keys = []
    for band in range(BANDS):
        values = signature[band * width : (band + 1) * width]
        digest = blake2b(values, digest_size=8, key=b"%d" % band).digest()
        keys.append(int.from_bytes(digest, "little", signed=True))
    return keys


def _signature(shingles: np.ndarray) -> np.ndarray:
    sketch = _empty_sketch().copy()
    for start in range(0, len(shingles), SLICE):
        sketch.update_batch(shingles[start : start + SLICE].tolist())
    return sketch.hashvalues


@cache
def _empty_sketch():
    from datasketch import MinHash

    return MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=int)  # the shingles are hashed already
