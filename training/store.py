"""What an unfinished build has done so far, in one SQLite file: the kept documents, what was seen, and the state.

Every `commit` is a point that a killed build goes on from: nothing between two of them is ever half there.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from models.errors import RequestError
from models.storage.disk import WriteFailed, explain, explained
from training.duplicates import SeenDocuments

CACHE = 64 << 20  # bytes of pages that SQLite keeps in memory

SCHEMA = """
CREATE TABLE IF NOT EXISTS document (number INTEGER PRIMARY KEY, place INTEGER, text TEXT);
CREATE INDEX IF NOT EXISTS shuffled ON document (place, number);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);
"""


class Store:
    """The open file. `seen` holds the fingerprints of the kept documents."""

    def __init__(self, database: sqlite3.Connection):
        self.database = database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute(f"PRAGMA cache_size = {-CACHE // 1024}")
        database.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} COMMIT;")
        self.seen = SeenDocuments(database)

    def keep(self, number: int, text: str, seed: int) -> None:
        """Keeps the document `number` at a place in the shuffled order that its number and the seed give."""
        digest = blake2b(b"%d %d" % (seed, number), digest_size=8).digest()
        place = int.from_bytes(digest, "little", signed=True)
        self.database.execute("INSERT INTO document VALUES (?, ?, ?)", (number, place, text))

    def text(self, number: int) -> str:
        """A kept document."""
        return self.database.execute("SELECT text FROM document WHERE number = ?", (number,)).fetchone()[0]

    def shuffled(self, after: tuple[int, int] | None = None) -> Iterator[tuple[tuple[int, int], str]]:
        """The place and text of every kept document in shuffled order, beginning after a place."""
        rows = self.database.execute(
            "SELECT place, number, text FROM document WHERE (place, number) > (?, ?) ORDER BY place, number",
            after or (-(1 << 63), -1),
        )
        return (((place, number), text) for place, number, text in rows)

    def bytes(self) -> int:
        """The size of all kept documents in UTF-8."""
        return self.database.execute("SELECT sum(length(CAST(text AS BLOB))) FROM document").fetchone()[0]

    def read(self, name: str, default: Any) -> Any:
        """The JSON value kept under a name."""
        row = self.database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else default

    def commit(self, **state: Any) -> None:
        """Makes everything since the last commit lasting, together with these JSON values."""
        rows = [(name, json.dumps(value)) for name, value in state.items()]
        self.database.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)
        self.database.commit()


@contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Opens the store, new or left by a killed build; RequestError if another build has it open or it is damaged."""
    # The tokenizers library takes its texts in a thread of its own, while this one waits for it.
    with explained(path):
        database = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        yield Store(database)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise RequestError(f"Another build is writing {path.parent}: wait for it, or use another --out.") from None
        raise WriteFailed(path, explain(error, path) or f"{error}.") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a mistake of ours, not of the file
            raise
        raise RequestError(f"{path} is damaged ({error}): remove {path.parent} and build again.") from None
    finally:
        database.close()
