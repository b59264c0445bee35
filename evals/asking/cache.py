"""Answers that were computed once, kept in SQLite under a key of everything that they depend on.

One file serves all runs and all models: a key holds the fingerprint of the model (`evals.asking.fingerprint`), the kind of
request and the request itself, so that two models, dtypes or protocols can never be taken for one another. A batch is
committed as soon as it is done: a killed run loses one batch at most. Several processes may write at once.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import EspalierError, RequestError
from models.storage.disk import explain

FILE_NAME = "answers.sqlite"
PATIENCE = 60  # seconds that a writer waits for another
TRIAL = b"trial"  # no key: those are of 32 bytes
KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables is 999


def default_path() -> Path:
    """`$ESPALIER_CACHE/answers.sqlite`, else below the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    if folder := os.environ.get("ESPALIER_CACHE"):
        return Path(folder).expanduser() / FILE_NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "espalier" / FILE_NAME


def key(*parts: str) -> bytes:
    """The key of an answer: SHA-256 over its parts, each with its length, so that no two lists of parts meet."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


class Cache:
    """A file of answers. Raises RequestError if the file cannot be opened, EspalierError if it cannot be written."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.found = self.missed = 0
        if self.path.is_dir():
            raise RequestError(
                f"{self.path} is a folder: name a file for the cache of answers, or do without by --cache none."
            )
        with self._explained(RequestError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB) WITHOUT ROWID"
            )
            self._try()

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The answers that are there, by key."""
        found: dict[bytes, bytes] = {}
        with self._explained(EspalierError):
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                found |= dict(self._connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", some))
        self.found += len(found)
        self.missed += len(keys) - len(found)
        return found

    def keep(self, answers: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]) -> None:
        """Writes answers, all or none of them."""
        rows = list(answers.items() if isinstance(answers, Mapping) else answers)
        with self._explained(EspalierError):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _try(self) -> None:
        """Writes an answer and takes it away again: a disk that takes none refuses it before any work."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (TRIAL, TRIAL))
        self._connection.execute("COMMIT")
        self._connection.execute("DELETE FROM answers WHERE key = ?", (TRIAL,))

    @contextmanager
    def _explained(self, kind: type[EspalierError]):
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            told = "Another process holds it." if "locked" in str(error) else explain(error, self.path)
            raise kind(
                f"The cache of answers {self.path} cannot be used: {told or _damaged(error)} Or choose another file by "
                "--cache FILE, or do without by --cache none."
            ) from error


def _damaged(error: Exception) -> str:
    return f"{str(error).capitalize()}. Remove it: the answers in it are computed again."
