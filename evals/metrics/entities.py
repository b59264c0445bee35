"""Named entities: those that a model lists by type, against those that a sentence's tags mark.

A task's `types` has for each tag the name that the prompt asks for; other tags do not count.
"""

import re
from collections.abc import Iterator

from evals.judging import answering
from evals.judging import entities as scores
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.statistics.unseen import one_of_each
from evals.task import Task
from evals.trial import Trial
from models.errors import RequestError

REDUCES = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
TAG = re.compile("O|[BI]-.+")


def target(task: Task, row: Row) -> list[tuple[str, str]]:
    """Type and words of the entities to list. RequestError unless the row has a BIO tag for each word."""
    words, tags = (_texts(task, row, name) for name in ("words", "tags"))
    if len(words) != len(tags):
        raise RequestError(f"{task.at(row)}: {len(words)} words have {len(tags)} tags: give each its own.")
    if odd := [tag for tag in tags if not TAG.fullmatch(tag)]:
        raise RequestError(f"{task.at(row)}: the tag {odd[0]!r} is neither O nor B-TYPE nor I-TYPE: mend it.")
    return [(kind, text) for kind, text in scores.tagged(words, tags) if kind in task.option("types")]


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the row has its words and their tags."""
    target(task, row)


def _texts(task: Task, row: Row, name: str) -> list[str]:
    listed = task.field(row, name)
    if not isinstance(listed, list):
        raise RequestError(f"{task.at(row)}: {name!r} is {listed!r:.40}, where a list of texts is needed.")
    return task.texts(row, name, listed)


@metric(tasks=True, check=check_row)
def entities(trial: Trial) -> Iterator[Result]:
    """Precision, recall and F1 of named entities that are listed by type."""
    yield from answering.run_written(trial, "entities", figures, judge, target)


def figures(task: Task) -> list[Figure]:
    """Those of all types together (micro)."""
    return [Figure(name, reduce, others=one_of_each) for name, reduce in REDUCES.items()]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The sufficient statistics of one list."""
    found = scores.counts(scores.listed(written, task.option("types")), target(task, row))
    return dict.fromkeys(REDUCES, found)
