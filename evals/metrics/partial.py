"""The word that fits a gap: the rest of the sentence tells."""

from collections.abc import Iterator, Sequence
from functools import partial as bound
from typing import Any

from evals.asking.request_client import RequestClient
from evals.judging.choices import chosen, flips
from evals.judging.cutting import tell_cuts
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.task_run import run_tasks
from evals.trial import Trial
from models.console.progress import Progress
from models.errors import RequestError

Answer = list[dict[str, Any]]  # for each word the log-likelihood of the rest after it, and what was asked


def filled(task: Task, row: Row) -> tuple[list[str], str]:
    """The beginnings of the sentence, each with one of the words in the gap, and the rest of it.

    RequestError for a sentence without a gap, or one that ends with it.
    """
    sentence, gap = task.prompt_of(row), task.option("gap")
    before, found, rest = sentence.partition(gap)
    if not found or not rest.strip():
        raise RequestError(f"{task.at(row)}: {sentence!r:.60} has no gap {gap!r} with words after it: check the file.")
    return [before + task.text(row, field) for field in task.option("fillers").values()], f" {rest.strip()}"


def target(task: Task, row: Row) -> int:
    """The number of the right word. RequestError for a label that is missing or none of the task's."""
    label, known = task.label(row, task.option("label")), list(task.option("fillers"))
    if label not in known:
        raise RequestError(f"{task.at(row)}: the label {label!r} is none of {', '.join(known)}.")
    return known.index(label)


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the row has its gap, its words, and says which is right."""
    filled(task, row)
    target(task, row)


@metric(tasks=True, scores=True, check=check_row)
def partial(trial: Trial) -> Iterator[Result]:
    """Accuracy of the word for a gap after which the rest of the sentence is likeliest, as WinoGrande counts it."""
    asking = bound(answer, trial=trial)
    yield from run_tasks(trial, "partial", figures, asking, judge, target, flips=flips)


def answer(
    client: RequestClient, task: Task, rows: Sequence[Row], progress: Progress, trial: Trial | None = None
) -> list[Answer]:
    """The log-likelihood of the rest after each word (Trinh and Le 2018, partial scoring)."""
    sentences = [filled(task, row) for row in rows]
    found = iter(client.likelihoods([(each, [rest]) for starts, rest in sentences for each in starts], progress))
    scores = [[(start, next(found)[0]) for start in starts] for starts, _ in sentences]
    if trial is not None:
        tell_cuts(trial, client.name, task, [max(score.dropped for _, score in some) for some in scores])
    return [
        [{"log_likelihood": score.log_likelihood, "prompt": start, "choice": score.choice} for start, score in some]
        for some in scores
    ]


def figures(task: Task) -> list[Figure]:
    """Accuracy alone: the rest is the same for both words, and its length changes nothing."""
    return [Figure("accuracy")]


def judge(task: Task, row: Row, given: Answer) -> dict[str, list[float]]:
    """The hit."""
    return {"accuracy": [float(chosen(given) == target(task, row))]}
