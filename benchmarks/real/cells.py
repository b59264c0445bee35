"""The cells of the table of a real model: a contender at a pattern, in the order in which they are worth measuring."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product

from benchmarks.solvers import CONTENDERS, contenders, settings
from models.errors import RequestError
from pruning.config import PruningConfig

DENSE = "dense"
RECOVERY = "reconstruct"
PATTERNS = ("0.5", "2:4", "0.6", "4:8")  # as the table shows them
AIMS = (PATTERNS[:2], PATTERNS[2:])  # what the second two show can wait
FIRST = ("wanda", "magnitude", "sparsegpt")  # the baselines; what is ours follows, then the rest
MATCHED = ", matched"  # after a contender's name: with --match dense
OURS = (f"fisher + exchange{MATCHED}", f"exchange{MATCHED}")  # of a pattern the first that can make it
REST = ("ria", "alps")
STEPS = {"0.5": ("exchange", f"exchange{MATCHED}", f"wanda + {RECOVERY}")}  # what each step to ours gives


@dataclass(frozen=True)
class Cell:
    """One contender at one pattern; the dense model has none."""

    contender: str
    pattern: str = ""

    @property
    def name(self) -> str:
        """How the command line calls it: `wanda@2:4`."""
        return f"{self.contender}@{self.pattern}" if self.pattern else self.contender

    @property
    def file(self) -> str:
        """The name of the file that its figures are stored in."""
        return f"{self.name.replace(' + ', '+').replace(', ', ',').replace('@', '-').replace(':', 'of')}.json"

    def config(self, windows: int, length: int, calibration: str) -> PruningConfig:
        """The settings of its pruning, calibrated on so many windows of so many tokens."""
        name, _, recovery = self.contender.partition(f" + {RECOVERY}")
        recover = RECOVERY if recovery or self.contender.endswith(RECOVERY) else "none"
        found = settings(self.pattern, name.removesuffix(MATCHED), windows)
        match = "dense" if name.endswith(MATCHED) else "none"
        return replace(found, sequence_length=length, calibration=calibration, recover=recover, match=match)


def all_cells() -> list[Cell]:
    """Every cell, the most important first."""
    found = [Cell(DENSE)]
    for aim in AIMS:
        for names_of, pattern in product(
            (lambda _: FIRST, ours, lambda pattern: (*REST, *STEPS.get(pattern, ()))), aim
        ):
            found += [Cell(name, pattern) for name in names_of(pattern)]
    return found


def ours(pattern: str) -> tuple[str, str]:
    """Our best contender in one shot at a pattern, and the same recovered."""
    best = next(name for name in OURS if _base(name) in contenders(pattern))
    return best, f"{best} + {RECOVERY}"


def chosen(patterns: Sequence[str]) -> list[Cell]:
    """The cells whose names match one of these (`wanda@*`, `*@2:4`); all for none. RequestError if one matches none."""
    cells = all_cells()
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            raise RequestError(f"There is no cell {pattern}: use some of {', '.join(cell.name for cell in cells)}.")
    return [cell for cell in cells if not patterns or any(fnmatchcase(cell.name, each) for each in patterns)]


def _base(contender: str) -> str:
    """The contender of `benchmarks.solvers` that it begins with."""
    return contender.removesuffix(f" + {RECOVERY}").removesuffix(MATCHED)


assert set(FIRST) | set(REST) <= set(CONTENDERS)
