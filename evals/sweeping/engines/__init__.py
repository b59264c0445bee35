"""What runs the cells of a sweep: every file here is an engine, and registers itself by lying here.

Such a file has one class, decorated with `@engine("NAME")`, the name being that of the file; the first line of its
docstring is what the command line lists. It is made with `workers` (how many cells at once; None: the engine's own
choice), `address` (of a cluster; None: none that is running) and `device`, raises RequestError if a library of it is
missing, and offers what `Engine` says.
"""

import ast
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from models.errors import RequestError

DEFAULT = "local"
FOLDER = Path(__file__).parent
_REGISTERED: dict[str, Callable[..., "Engine"]] = {}


@dataclass(frozen=True)
class Job:
    """One cell to run: the request of `evals.sweeping.cell` without its `out` and `workspace`, which the engine knows.

    `inputs` are the files that it reads, by their paths in the workspace. `folder` is where the results go;
    there is a workspace in it, `folder/work`, where a pruned model that is kept is to be left under the cell's name.
    """

    name: str
    request: dict
    inputs: dict[str, Path]
    folder: Path
    workspace: Path
    keep: bool = False


@dataclass(frozen=True)
class Ended:
    """A cell that has ended; `error` says in one line why it failed, None that its results are there."""

    name: str
    error: str | None


class Engine(Protocol):
    """Runs jobs, each in a process of its own.

    `workers` is how many it takes at once; `alone` whether each has its machine to itself.
    """

    workers: int
    alone: bool

    def submit(self, job: Job) -> None:
        """Starts a job."""

    def ended(self, patience: float) -> list[Ended]:
        """The jobs that ended since the last call; waits at most `patience` seconds for the first."""

    def fractions(self) -> dict[str, float]:
        """How far the running jobs are, where that is known."""

    def close(self) -> None:
        """Ends whatever still runs."""


def engine(name: str) -> Callable:
    """Registers the decorated class as the engine of that name."""

    def register(made: Callable[..., Engine]) -> Callable[..., Engine]:
        _REGISTERED[name] = made
        return made

    return register


def names() -> list[str]:
    """The names of all engines, found without importing any; the default one first."""
    found = sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]))
    return [DEFAULT, *(name for name in found if name != DEFAULT)]


def summary(name: str) -> str:
    """The first line of an engine's docstring, read without importing it."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    made = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list)
    return (ast.get_docstring(made) or "").split("\n", 1)[0]


def find(name: str) -> Callable[..., Engine]:
    """The engine of that name. RequestError if there is none."""
    if name not in names():
        raise RequestError(f"Unknown engine {name!r}: use one of {', '.join(names())}.")
    import_module(f"evals.sweeping.engines.{name}")
    return _REGISTERED[name]
