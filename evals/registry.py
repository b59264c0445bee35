"""The metrics of `evals run`: every file in metrics/ is one, under its own name, and registers itself by lying there.

Such a file has one function of the file's name, decorated with `@metric()`; the first line of its docstring is what
the command line and the page list.
"""

import ast
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import RequestError

if TYPE_CHECKING:
    from evals.rows.row import Row
    from evals.runs.results import Result
    from evals.task import Task
    from evals.trial import Trial

FOLDER = Path(__file__).parent / "metrics"
CheckRow = Callable[["Task", "Row"], None]
_REGISTERED: dict[str, "Metric"] = {}


@dataclass(frozen=True)
class Metric:
    """A metric: `measure` yields its results; `models_at_once` is how many models it holds in memory together.

    One with `tasks` is measured on those tasks of `evals.task` that name it; `check` then raises RequestError for a row
    that it cannot ask about or judge.
    """

    name: str
    measure: Callable[["Trial"], Iterable["Result"]]
    models_at_once: int
    tasks: bool
    scores: bool
    check: CheckRow


def _no_check(task: "Task", row: "Row") -> None:
    """For rows of which nothing but the prompt is needed."""


def metric(models_at_once: int = 1, tasks: bool = False, scores: bool = False, check: CheckRow = _no_check) -> Callable:
    """Registers the decorated function as the metric of its name."""

    def register(measure: Callable[["Trial"], Iterable["Result"]]) -> Callable:
        _REGISTERED[measure.__name__] = Metric(measure.__name__, measure, models_at_once, tasks, scores, check)
        return measure

    return register


def names() -> list[str]:
    """The names of all metrics, found without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules([str(FOLDER)]))


def summary(name: str) -> str:
    """The first line of a metric's docstring, read without importing it (it may need torch)."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return (ast.get_docstring(function) or "").split("\n", 1)[0]


def find(name: str) -> Metric:
    """The metric of that name. RequestError, with the names there are, if there is none."""
    if name not in names():
        raise RequestError(f"Unknown metric {name!r}: use some of {', '.join(names())}.")
    import_module(f"evals.metrics.{name}")
    return _REGISTERED[name]
