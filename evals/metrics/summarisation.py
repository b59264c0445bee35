"""Summarisation: ROUGE-1, ROUGE-2, ROUGE-L and summary-level ROUGE-L (F-measures, 0 to 1).

A task says its `language` and which fields have the `references`; each score is of the reference that gives the best.
"""

from collections.abc import Iterator

from evals.judging import answering
from evals.judging import summaries as scores
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.trial import Trial


@metric(tasks=True, check=answering.check_references)
def summarisation(trial: Trial) -> Iterator[Result]:
    """ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum of summaries, the best over several references."""
    # Before any model writes: without rouge_score it would be for nothing.
    definitions = {task.name: scores.protocol(task.option("language")) for task in trial.tasks("summarisation")}
    yield from answering.run_written(trial, "summarisation", figures, judge, answering.references, definitions)


def figures(task: Task) -> list[Figure]:
    """The mean of each score."""
    return [Figure(name) for name in scores.TYPES]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The scores of one summary."""
    found = scores.rouge(written, answering.references(task, row), task.option("language"))
    return {name: [value] for name, value in found.items()}
