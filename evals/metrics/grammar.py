"""Grammar: minimal pairs of a good and a bad sentence."""

from collections.abc import Iterator, Sequence

from evals.asking.request_client import RequestClient
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.task_run import run_tasks
from evals.trial import Trial
from models.console.progress import Progress


def sides(task: Task, row: Row) -> list[str]:
    """The good sentence and the bad one; in 7 of BLiMP's 67,000 pairs they are the same. RequestError where one is missing."""
    return [task.text(row, task.option(side)) for side in ("good", "bad")]


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the row has both sentences, and a group where the task has groups."""
    sides(task, row)
    if group := task.options.get("group"):
        task.text(row, group)


@metric(tasks=True, scores=True, check=check_row)
def grammar(trial: Trial) -> Iterator[Result]:
    """How often the good sentence of a minimal pair is likelier than the bad one, as BLiMP counts it."""
    yield from run_tasks(trial, "grammar", figures, answer, judge, lambda task, row: sides(task, row)[0])


def answer(client: RequestClient, task: Task, rows: Sequence[Row], progress: Progress) -> list[list[dict]]:
    """The log-likelihoods of both sentences of every row, whole, behind the token that a text begins with."""
    asked = [text for row in rows for text in sides(task, row)]
    values = client.whole_texts(asked, progress)
    answers = []
    for at in range(0, len(asked), 2):
        pair = zip(asked[at : at + 2], values[at : at + 2], strict=True)
        answers.append([{"choice": text, "log_likelihood": value} for text, value in pair])
    return answers


def figures(task: Task) -> list[Figure]:
    """The share of right pairs, of all and by the task's `groups`. BLiMP's sets are of one size: all of them count alike."""
    return [Figure("accuracy"), *(Figure(f"accuracy[{group}]") for group in task.options.get("groups", ()))]


def judge(task: Task, row: Row, given: list[dict]) -> dict[str, list[float]]:
    """Whether the good sentence is the likelier one; a tie is wrong (Warstadt et al. 2020, section 3).

    So is a pair of the same sentence, whose two figures may differ by what else was in their batches.
    """
    good, bad = given
    hit = [float(good["choice"] != bad["choice"] and good["log_likelihood"] > bad["log_likelihood"])]
    return {"accuracy": hit, f"accuracy[{row.get(task.options.get('group', ''))}]": hit}
