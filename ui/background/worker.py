"""One thread that does all the models' work, one job after another, for all visitors; and how a page follows a job.

A single thread is the lock: never do two forward passes run at once, so that no visitor's figures are spoilt by
another's work, and torch keeps one warm pool of threads.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.console.stopping import listening, was_cancelled
from models.errors import Cancelled, EspalierError

T = TypeVar("T")
HEARTBEAT = 0.2  # seconds; how long a page may wait before it looks whether the visitor is still there


class Mailbox:
    """Holds the newest value that a job has published; a slow reader skips what it missed, but never the last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values: list[Any] = []
        self._error: BaseException | None = None
        self._closed = False

    def put(self, value: Any) -> None:
        """Publishes a value in the place of one that nobody has read yet."""
        with self._changed:
            self._values = [value]
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        """Says that nothing more will come, and what went wrong if something did."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float) -> tuple[list[Any], bool]:
        """Waits for news; returns the unread value (none or one) and whether the job is over.

        Raises what the job raised, once the last value was read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._values or self._closed, timeout)
            values, self._values = self._values, []
            if not values and self._error is not None:
                raise self._error
            return values, self._closed and self._error is None


@dataclass
class Job:
    """Something to do, where its news go, and the event that asks it to end."""

    work: Callable[[Callable[[Any], None]], None]
    stop: threading.Event
    news: Mailbox = field(default_factory=Mailbox)

    def run(self) -> None:
        """Does the work, which may ask whether it shall stop; whatever it raises goes to the reader."""
        try:
            with listening(self.stop.is_set):
                self.work(self.news.put)
        except BaseException as error:
            # A library may have made another error of being cut off.
            self.news.close(Cancelled() if was_cancelled(error) and not isinstance(error, Cancelled) else error)
        else:
            self.news.close()


class Worker:
    """The thread. `close` asks the running job to end and waits for it."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._current: Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="models", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Puts a job at the end of the line."""
        self._jobs.put(job)

    def run(self, work: Callable[[], T]) -> T:
        """Does `work` on the thread and returns its result: for short work that needs no news and no stop."""
        (result,) = [value for value in self.follow(lambda publish: publish((work(),)), threading.Event()) if value]
        return result[0]

    def follow(
        self, work: Callable[[Callable[[T], None]], None], stop: threading.Event, heartbeat: float = HEARTBEAT
    ) -> Iterator[T | None]:
        """Yields what `work(publish)` publishes as it comes, and None whenever `heartbeat` seconds brought nothing.

        The heartbeat gives the page's server a chance to close this generator when the visitor has left. However it
        ends, `stop` is set, so that the work ends too. Raises what the work raised.
        """
        job = Job(work, stop)
        self.submit(job)
        try:
            over = False
            while not over:
                values, over = job.news.take(heartbeat)
                if values:
                    yield values[0]
                elif not over:
                    yield None
        finally:
            stop.set()

    @property
    def waiting(self) -> int:
        """How many jobs stand in line behind the one that runs."""
        return self._jobs.qsize()

    def close(self, timeout: float = 5.0) -> None:
        """Ends the thread: the running job is asked to stop, those in line are refused."""
        self._closing = True
        if (job := self._current) is not None:
            job.stop.set()
        self._jobs.put(None)
        self._thread.join(timeout)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._closing:
                job.news.close(EspalierError("The page is closing down: start it again."))
                continue
            self._current = job
            job.run()
            self._current = None
