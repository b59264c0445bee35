"""The recoveries that follow a pruning, by the names that the settings join."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.console.progress import Progress, part
from models.errors import RequestError
from pruning.adaptation.settings import Cost
from pruning.registry import Entry, find

if TYPE_CHECKING:
    from pruning.job import Job

JOINED = "+"


def recoveries(recover: str) -> list[Entry]:
    """The entries that `reconstruct+distill` names, in order. RequestError if one is unknown or comes twice."""
    found = [find("recover", name) for name in recover.split(JOINED)]
    names = [entry.name for entry in found]
    if len(set(names)) < len(names) or (len(names) > 1 and "none" in names):
        raise RequestError(f"--recover {recover} cannot be followed: name each recovery once, and none by itself.")
    return found


class Recovery:
    """The recoveries that the settings of a job name, one after the other. RequestError if one cannot be done."""

    def __init__(self, job: Job):
        minutes = job.config.recover_minutes
        self._seconds = None if minutes is None else 60 * minutes
        self._steps = {entry.name: entry.implementation(job) for entry in recoveries(job.config.recover)}

    def cost(self, tokens: int) -> Cost:
        """What they take with a calibration text of so many tokens."""
        costs = [step.cost(tokens) for step in self._steps.values()]
        return Cost(sum(cost.tokens for cost in costs), sum(cost.bytes for cost in costs))

    def begin(self) -> None:
        """Takes what is needed of the dense model."""
        for step in self._steps.values():
            step.begin()

    def run(self, progress: Progress) -> tuple[dict, ...]:
        """Recovers; gives what each did."""
        count, found = len(self._steps), []
        end = None if self._seconds is None else time.monotonic() + self._seconds
        for number, (name, step) in enumerate(self._steps.items()):
            began = time.monotonic()
            seconds = None if end is None else max(0.0, end - began) / (count - number)
            done = step.run(part(progress, number / count, (number + 1) / count), seconds)
            found += [{"name": name} | done | {"seconds": time.monotonic() - began}] if done else []
        return tuple(found)
