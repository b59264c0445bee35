"""Progress of long work: one callback type, shown as a bar in a terminal and as `gr.Progress` on the page.

A long loop calls `progress(fraction, message)` between two steps. A caller that wants it to stop raises
`Cancelled` from the callback; the loop lets it pass, having left nothing half-written.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[float, str], None]


def silent(fraction: float, message: str) -> None:
    """A progress callback that shows nothing."""


def part(progress: Progress | None, start: float, end: float) -> Progress:
    """The callback for a sub-task that fills `start..end` (fractions) of `progress`."""
    outer = progress or silent
    return lambda fraction, message: outer(start + (end - start) * fraction, message)


def terminal_bar(stream: TextIO | None = None, width: int = 24) -> Progress:
    """A callback that draws one line with a bar, the message and the time left.

    On a terminal the line is redrawn in place; in a log it appears at most once in ten seconds.
    """
    out = stream or sys.stderr
    live = out.isatty()
    began: tuple[float, float] | None = None  # when, and at what fraction: a resumed run does not begin at 0
    last_shown = float("-inf")

    def show(fraction: float, message: str) -> None:
        nonlocal began, last_shown
        now = time.monotonic()
        began = began or (now, fraction)
        done = fraction >= 1
        if not done and now - last_shown < (0.1 if live else 10):
            return
        last_shown = now
        filled = round(width * min(max(fraction, 0), 1))
        gained = fraction - began[1]
        left = "" if done or gained <= 0 else f", {format_seconds((now - began[0]) * (1 - fraction) / gained)} left"
        line = f"[{'#' * filled}{'.' * (width - filled)}] {fraction:4.0%}  {message}{left}"
        out.write(f"\r{line}\033[K" if live else f"{line}\n")
        if live and done:
            out.write("\n")
        out.flush()

    return show


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: `8 s`, `3 min 20 s`, `1 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
