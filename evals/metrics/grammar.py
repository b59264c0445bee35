"""Grammar: minimal pairs of a good and a bad sentence."""

from collections.abc import Iterator, Sequence

from evals.asking.respondent import Respondent
from evals.figures import Figure
from evals.registry import metric
from evals.results import Result
from evals.rows import Row
from evals.task import Task
from evals.task_run import run_tasks
from evals.trial import Trial
from models.progress import Progress


@metric(tasks=True, scores=True)
def grammar(trial: Trial) -> Iterator[Result]:
    """How often the good sentence of a minimal pair is likelier than the bad one, as BLiMP counts it."""
    yield from run_tasks(
        trial, "grammar", figures, answer, judge, lambda task, row: task.field(row, task.option("good"))
    )


def answer(respondent: Respondent, task: Task, rows: Sequence[Row], progress: Progress) -> list[list[dict]]:
    """The log-likelihoods of both sentences of every row, whole, behind the token that a text begins with."""
    sides = [task.option("good"), task.option("bad")]
    asked = [task.field(row, side) for row in rows for side in sides]
    values = respondent.whole_texts(asked, progress)
    answers = []
    for at in range(0, len(asked), 2):
        pair = zip(asked[at : at + 2], values[at : at + 2], strict=True)
        answers.append([{"choice": text, "log_likelihood": value} for text, value in pair])
    return answers


def figures(task: Task) -> list[Figure]:
    """The share of right pairs, of all and by the task's `groups`. BLiMP's sets are of one size: all of them count alike."""
    return [Figure("accuracy"), *(Figure(f"accuracy[{group}]") for group in task.options.get("groups", ()))]


def judge(task: Task, row: Row, given: list[dict]) -> dict[str, list[float]]:
    """Whether the good sentence is the likelier one; a tie is wrong (Warstadt et al. 2020, section 3)."""
    hit = [float(given[0]["log_likelihood"] > given[1]["log_likelihood"])]
    return {"accuracy": hit, f"accuracy[{row.get(task.options.get('group', ''))}]": hit}
