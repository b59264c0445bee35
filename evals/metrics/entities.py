"""Named entities: those that a model lists by type, against those that a sentence's tags mark.

A task's `types` has for each tag the name that the prompt asks for; other tags do not count.
"""

from collections.abc import Iterator

from evals.figures import Figure
from evals.judging import answering
from evals.judging import entities as scores
from evals.registry import metric
from evals.results import Result
from evals.rows import Row
from evals.task import Task
from evals.trial import Trial

REDUCES = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


@metric(tasks=True)
def entities(trial: Trial) -> Iterator[Result]:
    """Precision, recall and F1 of named entities that are listed by type."""
    yield from answering.run_written(trial, "entities", figures, judge, target)


def figures(task: Task) -> list[Figure]:
    """Those of all types together (micro)."""
    return [Figure(name, reduce) for name, reduce in REDUCES.items()]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The sufficient statistics of one list."""
    found = scores.counts(scores.listed(written, task.option("types")), target(task, row))
    return dict.fromkeys(REDUCES, found)


def target(task: Task, row: Row) -> list[tuple[str, str]]:
    """Type and words of the entities to list."""
    marked = scores.tagged(task.field(row, "words"), task.field(row, "tags"))
    return [(kind, text) for kind, text in marked if kind in task.option("types")]
