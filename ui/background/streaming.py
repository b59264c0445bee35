"""Two models write at once on one machine: equal slices of time, one forward pass at a time, each its own clock.

Taking turns token by token would show both at the slower one's pace, and two threads would slow both. By slices of
time each shows half of its own speed, so the eye sees their true ratio; the figures come from each one's own clock.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from models.console.stopping import interruptible
from models.errors import Cancelled

LONG = 64  # tokens of a prompt that takes so long to read that it must be possible to cut that off
SLICE = 0.05  # seconds that one model computes before the other's turn; a step is never cut
UPDATE = 1 / 16  # seconds between two pictures of the page: about what the eye can follow


class Writer(Protocol):
    """What is asked of a `models.decoding.Generation`."""

    ids: list[int]
    text: str
    finished: str | None
    seconds: float
    token_times: list[float]

    def step(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Picture:
    """One side at one moment. `first` is the time to first token and `rate` tokens per second after it, if known.

    Both are of the side's own clock. `finished` is None while it writes, else why it ended. `rereads` tells that the
    model reads the whole text again for every token.
    """

    text: str
    tokens: int
    first: float | None
    rate: float | None
    finished: str | None
    error: str = ""
    rereads: bool = False

    @classmethod
    def of(cls, writer: Writer, error: str = "") -> "Picture":
        """The picture of a writer as it is now."""
        times = writer.token_times
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
        first = times[0] if times else None
        return cls(writer.text, len(writer.ids), first, rate, writer.finished, error, getattr(writer, "rereads", False))


class Pacer:
    """Decides when a picture is due: at once when something notable happened, else every `interval` seconds."""

    def __init__(self, interval: float = UPDATE, clock: Callable[[], float] = time.perf_counter):
        self._interval = interval
        self._clock = clock
        self._last = float("-inf")

    def due(self, notable: bool) -> bool:
        """Whether to publish now; if so, the interval begins anew."""
        now = self._clock()
        if not notable and now - self._last < self._interval:
            return False
        self._last = now
        return True


def write_together(
    writers: Sequence[Writer],
    publish: Callable[[list[Picture]], None],
    stop: threading.Event,
    pacer: Pacer | None = None,
    slice_seconds: float = SLICE,
    explain: Callable[[Exception], str] = str,
) -> list[Picture]:
    """Steps all writers to their ends, whoever has used the least time first; publishes and returns pictures of all.

    A writer that fails shows its error, as `explain` words it, in its picture and the other goes on; if all of them fail, the last one's
    exception is raised. When `stop` is set all end after the step that runs. The writers are closed in any case.
    """
    pacer = pacer or Pacer()
    errors = ["" for _ in writers]
    failure: Exception | None = None
    try:
        while (open_ones := [i for i, writer in enumerate(writers) if not writer.finished]) and not stop.is_set():
            at = min(open_ones, key=lambda i: writers[i].seconds)
            writer = writers[at]
            turn_ends = writer.seconds + slice_seconds
            while not writer.finished and not stop.is_set() and writer.seconds < turn_ends:
                had = len(writer.ids)
                try:
                    with interruptible() if _reads_long(writer) else nullcontext():
                        writer.step()
                except Cancelled:
                    break
                except Exception as error:
                    errors[at], failure = explain(error), error
                    writer.close()
                if pacer.due(notable=had == 0 < len(writer.ids) or writer.finished is not None):
                    publish([Picture.of(*pair) for pair in zip(writers, errors, strict=False)])
    finally:
        for writer in writers:
            writer.close()
    if failure is not None and all(errors):
        raise failure
    pictures = [Picture.of(*pair) for pair in zip(writers, errors, strict=False)]
    publish(pictures)
    return pictures


def _reads_long(writer: Writer) -> bool:
    return not writer.ids and len(getattr(writer, "prompt_ids", ())) > LONG
