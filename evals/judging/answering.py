"""Tasks that are answered by writing, greedily: what they share.

A task says `max_new_tokens` and, where an answer ends before that, `stop` (a text or several; a line's end if it says
nothing, `[]` for none).
"""

from collections.abc import Iterator, Sequence

from evals.asking.request_client import RequestClient
from evals.judging.cutting import tell_cuts
from evals.rows.row import Row
from evals.runs.results import Result
from evals.task import Task
from evals.task_run import Figures, Judge, Target, run_tasks
from evals.trial import Trial
from models.console.progress import Progress

LINE_END = "\n"


def run_written(
    trial: Trial, metric: str, figures: Figures, judge: Judge, target: Target, definition: dict[str, dict] | None = None
) -> Iterator[Result]:
    """`evals.task_run.run_tasks` for tasks that are answered by writing.

    `definition` has for each task what its protocol says of its figures. What is cut off prompts is told
    (`evals.judging.cutting`).
    """

    def answer(client: RequestClient, task: Task, rows: Sequence[Row], progress: Progress) -> list[str]:
        prompts = [task.prompt_of(row) for row in rows]
        written = client.write(prompts, task.option("max_new_tokens"), stops(task), progress)
        tell_cuts(trial, client.name, task, [each.dropped for each in written])
        return [each.text for each in written]

    def protocol(task: Task) -> dict:
        told = {"decoding": "greedy", "max_new_tokens": task.option("max_new_tokens"), "stop": stops(task)}
        return told | (definition or {}).get(task.name, {})

    yield from run_tasks(trial, metric, figures, answer, judge, target, protocol, flips)


def stops(task: Task) -> list[str]:
    """The texts that end an answer."""
    stop = task.options.get("stop", LINE_END)
    return [stop] if isinstance(stop, str) else list(stop)


def references(task: Task, row: Row) -> list[str]:
    """The texts of the fields that the task's `references` names: right answers, any of them.

    RequestError where one is missing, null or empty.
    """
    return [task.text(row, name) for name in task.option("references")]


def check_references(task: Task, row: Row) -> None:
    """RequestError unless the row has all references."""
    references(task, row)


def flips(first: str, second: str) -> float:
    """1.0 if two models write differently, but for spaces around it, else 0.0."""
    return float(first.strip() != second.strip())
