"""The last word of a passage."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from evals.asking.request_client import RequestClient
from evals.judging.cutting import tell_cuts
from evals.judging.last_word import cut
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.task_run import run_tasks
from evals.trial import Trial
from models.console.progress import Progress
from models.errors import RequestError

LARGEST_LOG = 700.0  # nats; exp of little more is not a finite float


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the passage has a last word after a space."""
    try:
        cut(task.prompt_of(row))
    except RequestError as error:
        raise RequestError(f"{task.at(row)}: {error}") from None


@metric(tasks=True, scores=True, check=check_row)
def last_word(trial: Trial) -> Iterator[Result]:
    """Whether the last word of a passage is written greedily, and how much it surprises, as LAMBADA counts it."""
    asking = partial(answer, trial=trial)
    yield from run_tasks(trial, "last_word", figures, asking, judge, lambda task, row: cut(task.prompt_of(row))[1])


def answer(
    client: RequestClient, task: Task, rows: Sequence[Row], progress: Progress, trial: Trial | None = None
) -> list[dict[str, float]]:
    """The log-likelihood of every last word with its space, and whether greedy decoding writes it."""
    asked = [(context, [word]) for context, word in (cut(task.prompt_of(row)) for row in rows)]
    found = client.likelihoods(asked, progress)
    if trial is not None:
        tell_cuts(trial, client.name, task, [score.dropped for (score,) in found])
    return [{"log_likelihood": score.log_likelihood, "greedy": float(score.greedy)} for (score,) in found]


def figures(task: Task) -> list[Figure]:
    """Accuracy, and the perplexity of a word: exp of the mean over passages."""
    return [Figure("accuracy"), Figure("perplexity", perplexity, higher_is_better=False)]


def judge(task: Task, row: Row, given: dict[str, float]) -> dict[str, list[float]]:
    """The hit, and (nats, 1)."""
    return {"accuracy": [given["greedy"]], "perplexity": [-given["log_likelihood"], 1.0]}


def perplexity(sums: np.ndarray) -> np.ndarray:
    """exp(nats / passages) of sums [..., 2]."""
    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], LARGEST_LOG))
