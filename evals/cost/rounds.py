"""ModelPool timed in turns, A B A B, so that a drift of the machine's clock or heat meets all alike.

Rounds go on until there are both enough of them and enough measured seconds. Where the share of the processors that
other programs use is watched, rounds that they disturbed are measured again, a few times; then they are kept and
counted. Warm-up runs are kept apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from evals.cost.cpu_share import CpuWatch
from evals.cost.timing import Run
from models.console.progress import Progress, silent

Entrant = tuple[str, Callable[[bool], Run]]  # a name, and what times one run of it; told whether it is the warm-up
DISTURBED = 0.25  # share of the processors used by others from which on a round is not trusted
BLOCK_SECONDS = 0.25  # rounds are judged together until they have lasted so long: the counters' tick is 10 ms
MOST_ROUNDS = 200


@dataclass(frozen=True)
class Until:
    """When there are enough rounds: `runs` of them and `seconds` of measured time; `retries` blocks may be repeated."""

    runs: int
    seconds: float = 0.0
    warmups: int = 1
    retries: int = 0


@dataclass
class Rounds:
    """The kept rounds [round][contender], the warm-ups alike, and what others did meanwhile.

    `foreign` has the share of the processors that others used in each kept round (None where it is not known).
    """

    warmups: list[list[Run]] = field(default_factory=list)
    kept: list[list[Run]] = field(default_factory=list)
    foreign: list[float | None] = field(default_factory=list)
    remeasured: int = 0

    def of(self, at: int) -> list[Run]:
        """The runs of one contender."""
        return [turn[at] for turn in self.kept]

    @property
    def disturbed(self) -> int:
        """How many of the kept rounds were disturbed."""
        return sum(share is not None and share > DISTURBED for share in self.foreign)

    def as_protocol(self) -> dict:
        """How the rounds went, as JSON types."""
        known = [share for share in self.foreign if share is not None]
        return {
            "runs": len(self.kept),
            "warmup_runs": len(self.warmups),
            "foreign_cpu_share": round(float(np.median(known)), 3) if known else None,
            "rounds_disturbed": self.disturbed,
            "rounds_measured_again": self.remeasured,
        }


def interleave(
    entrants: Sequence[Entrant], until: Until, progress: Progress | None = None, watch: CpuWatch | None = None
) -> Rounds:
    """Times every entrant once a round, in the order given, until there are enough rounds (MOST_ROUNDS at most)."""
    rounds, report = Rounds(), _Report(entrants, until, progress or silent)

    def turn(done: int, seconds: float, warmup: bool = False) -> list[Run]:
        runs = []
        for at, (name, take) in enumerate(entrants):
            report.show(at, name, done, seconds, warmup)
            runs.append(take(warmup))
        return runs

    rounds.warmups = [turn(done, 0.0, warmup=True) for done in range(until.warmups)]
    spent, retries = 0.0, until.retries
    while not _enough(len(rounds.kept), spent, until):
        block: list[list[Run]] = []
        if watch is not None:
            watch.start()
        while _seconds(block) < BLOCK_SECONDS:
            done, seconds = len(rounds.kept) + len(block), spent + _seconds(block)
            if _enough(done, seconds, until):
                break
            block.append(turn(done, seconds))
        own = sum(run.cpu_seconds for runs in block for run in runs)
        share = watch.foreign_share(own) if watch is not None else None
        if share is not None and share > DISTURBED and retries:
            retries -= 1
            rounds.remeasured += len(block)
            continue
        rounds.kept += block
        rounds.foreign += [share] * len(block)
        spent += _seconds(block)
    report.end(len(rounds.kept))
    return rounds


def _enough(count: int, seconds: float, until: Until) -> bool:
    return count >= until.runs and (seconds >= until.seconds or count >= MOST_ROUNDS)


def _seconds(rounds: list[list[Run]]) -> float:
    return sum(run.seconds for runs in rounds for run in runs)


class _Report:
    """The progress of the rounds; it never goes back, though rounds may be repeated."""

    def __init__(self, entrants: Sequence[Entrant], until: Until, progress: Progress):
        self._count, self._until, self._progress = len(entrants), until, progress
        self._shown = 0.0

    def show(self, at: int, name: str, turn: int, seconds: float, warmup: bool) -> None:
        until = self._until
        share = turn + at / self._count
        if not warmup:
            if until.seconds:
                share = min(share, until.runs * seconds / until.seconds)
            share = until.warmups + min(share, until.runs)
        self._shown = max(self._shown, share / (until.warmups + until.runs))
        counted = f"run {turn + 1}" + ("" if until.seconds else f" of {until.runs}")
        self._progress(self._shown, f"{name}, {'warm-up' if warmup else counted}")

    def end(self, rounds: int) -> None:
        self._progress(1.0, f"{rounds} runs each")
