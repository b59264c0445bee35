"""How much of the processors other programs used while something was measured, from /proc/stat.

`/proc/stat` counts in ticks of mostly 10 ms what all programs used, those of other containers of the machine and what
its hypervisor took away ("steal") included. What the measured processes say that they used themselves is taken off.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SHORTEST = 0.1  # seconds; in less a tick or two more or less would decide
IDLE = (3, 4)  # idle and waiting for a disk, among the fields user nice system idle iowait irq softirq steal
FIELDS = 8  # guest time, which follows, is part of user


class Ticks(NamedTuple):
    """Processor seconds since the start of the machine, over the processors that may be used: busy, and in all."""

    busy: float
    total: float
    processors: int


def read_ticks() -> Ticks | None:
    """The counters now; None where the system has none."""
    try:
        lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        usable = os.sched_getaffinity(0)
        second = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return None
    return parse_ticks(lines, usable, second)


def parse_ticks(lines: list[str], usable: set[int], second: int) -> Ticks | None:
    """The counters in the lines of /proc/stat of the processors `usable`; `second` is ticks a second."""
    names = {f"cpu{number}" for number in usable}
    rows = [list(map(int, words[1 : FIELDS + 1])) for words in map(str.split, lines) if words and words[0] in names]
    if not rows:
        return None
    total = sum(map(sum, rows))
    idle = sum(row[at] for row in rows for at in IDLE)
    return Ticks((total - idle) / second, total / second, len(rows))


class CpuWatch:
    """Watches one stretch of time after another: `start`, then `foreign_share`."""

    def __init__(self, read: Callable[[], Ticks | None] = read_ticks):
        self._read = read
        self._before: Ticks | None = None

    def start(self) -> None:
        """Begins a stretch."""
        self._before = self._read()

    def foreign_share(self, own_seconds: float) -> float | None:
        """The fraction of the processors' time since `start` that others used, 0..1.

        `own_seconds` of processor time are our own. None where the system does not tell, or in too short a stretch.
        """
        before, after = self._before, self._read()
        if before is None or after is None or after.total - before.total < SHORTEST * after.processors:
            return None
        foreign = after.busy - before.busy - own_seconds
        return min(max(foreign / (after.total - before.total), 0.0), 1.0)
