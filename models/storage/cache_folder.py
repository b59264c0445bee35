"""Where fetched models are kept, and a lock for whoever writes there."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from models.storage.disk import explained

POLL = 0.2  # seconds between two tries for a lock that another process holds


def cache_folder(*parts: str) -> Path:
    """`ESPALIER_CACHE`, else `espalier` in the user's cache folder, with `parts` below it. Nothing is made."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("ESPALIER_CACHE") or caches / "espalier").joinpath(*parts)


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock file `path`, which ends with the process however that ends.

    `waiting` is called several times a second while another process holds it; what it raises ends the wait.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115
    with file:
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(POLL)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
