"""Work in the background that every open page may watch: how it stands, how far it is, how it ended."""

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from models.console.progress import Progress
from models.console.stopping import listening, stop_asked, was_cancelled
from models.errors import Cancelled

IDLE, RUNNING, DONE, FAILED, CANCELLED = "idle", "running", "done", "failed", "cancelled"
SOON = 0.03  # of the work: before that the time left is a guess


@dataclass(frozen=True)
class Standing:
    """How an errand stands. `fraction` is 0 to 1, `message` the work's own (English), `left` seconds if known.

    `error` is what it failed of.
    """

    state: str = IDLE
    fraction: float = 0.0
    message: str = ""
    left: float | None = None
    error: Exception | None = None

    @property
    def open(self) -> bool:
        """Whether something is still to come."""
        return self.state in (IDLE, RUNNING)


class Errand:
    """Runs `work(progress)` at most once at a time, and can be started again once it has ended.

    `begin` runs a function somewhere else than here (a thread of its own unless it is given); `ended(standing)` is
    called there when it is over. `name` is what it brings.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Progress], None],
        begin: Callable[[Callable[[], None]], None] | None = None,
        ended: Callable[[Standing], None] = lambda standing: None,
    ):
        self.name = name
        self._work, self._begin, self._ended = work, begin or _on_a_thread, ended
        self._changed = threading.Condition()
        self._standing = Standing()
        self._stop = threading.Event()
        self._began: tuple[float, float] | None = None  # when, and at what fraction

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        return self._standing

    def start(self) -> None:
        """Begins, unless it runs already."""
        with self._changed:
            if self._standing.state == RUNNING:
                return
            self._standing, self._stop, self._began = Standing(RUNNING), threading.Event(), None
        self._begin(self._run)

    def cancel(self) -> None:
        """Asks it to end; one that does not run is left as it is."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> Standing:
        """How it stands once it has ended, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._standing.open, timeout)
            return self._standing

    def _run(self) -> None:
        stop = self._stop

        def progress(fraction: float, message: str) -> None:
            if stop.is_set():
                raise Cancelled
            now = time.monotonic()
            began = self._began = self._began or (now, fraction)
            gained = fraction - began[1]
            left = (now - began[0]) * (1 - fraction) / gained if gained > SOON else None
            self._standing = replace(self._standing, fraction=fraction, message=message, left=left)

        around = contextvars.copy_context()  # in which the worker may be asked to stop, too
        try:
            with listening(lambda: stop.is_set() or around.run(stop_asked)):
                self._work(progress)
        except Exception as error:
            over = Standing(CANCELLED) if was_cancelled(error) else Standing(FAILED, error=error)
        else:
            over = Standing(DONE, 1.0)
        with self._changed:
            self._standing = over
            self._changed.notify_all()
        self._ended(over)


def _on_a_thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="errand", daemon=True).start()
