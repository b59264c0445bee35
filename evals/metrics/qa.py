"""Question answering: short answers, written after a context and a question, against those of people.

A task's `language: zh` asks for CMRC 2018's definitions (`evals.judging.cmrc`), any other for SQuAD's
(`evals.judging.squad`). `no_answer` is the word that a model is to write where the context has no answer: with it the
figures are those of SQuAD 2.0, which the official script also gives apart for the questions that have an answer
(`has_answer`) and those that have none (`no_answer`).
"""

from collections.abc import Iterator

from evals.judging import answering, cmrc, squad
from evals.judging.counted import counted, left_out, mean_of_counted
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.statistics.unseen import parts_within
from evals.task import Task
from evals.trial import Trial
from models.errors import RequestError

SCORES = {"exact_match": squad.exact_match, "f1": squad.token_f1}
CHINESE_SCORES = {"exact_match": cmrc.exact_match, "f1": cmrc.run_f1}
PARTS = ("has_answer", "no_answer")


def target(task: Task, row: Row) -> list[str]:
    """The right answers; none where the context has none. The Hub's rows have them in a table of their own.

    RequestError where there is no list of texts, or none is right and the task has no `no_answer`.
    """
    answers = task.field(row, "answers")
    answers = answers.get("text") if isinstance(answers, dict) else answers
    listed = [answers] if isinstance(answers, str) else answers
    if not isinstance(listed, list | tuple):
        raise RequestError(f"{task.at(row)}: 'answers' is {listed!r:.40}, where a list of texts is needed.")
    no_answer = _no_answer(task)
    if not listed and not no_answer:
        raise RequestError(f"{task.at(row)}: there is no answer: give one, or leave the row out.")
    return task.texts(row, "answers", listed, empty=bool(no_answer))


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the row has its answers."""
    target(task, row)


@metric(tasks=True, check=check_row)
def qa(trial: Trial) -> Iterator[Result]:
    """Exact match and F1 of answers found in a context: SQuAD 1.1 and 2.0, CMRC 2018."""
    definitions = {task.name: {"definition": definition(task)} for task in trial.tasks("qa")}
    yield from answering.run_written(trial, "qa", figures, judge, target, definitions)


def figures(task: Task) -> list[Figure]:
    """Exact match and F1; with questions that have no answer, also apart."""
    parts = _by_part() if _no_answer(task) else []
    return [*(Figure(name) for name in SCORES), *parts]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The sufficient statistics of one answer."""
    scores = CHINESE_SCORES if _is_chinese(task) else SCORES
    wanted = target(task, row)
    if not (no_answer := _no_answer(task)):
        return {name: [score(written, wanted)] for name, score in scores.items()}
    answer = squad.answer_or_none(written, no_answer)
    found = {name: squad.with_no_answer(score, answer, wanted) for name, score in scores.items()}
    here = "has_answer" if wanted else "no_answer"
    parts = {f"{part}_{name}": counted(found[name]) if part == here else left_out() for part in PARTS for name in found}
    return {name: [value] for name, value in found.items()} | parts


def definition(task: Task) -> str:
    """Whose exact match and F1 the figures are."""
    return "CMRC 2018" if _is_chinese(task) else "SQuAD 2.0" if _no_answer(task) else "SQuAD 1.1"


def _by_part() -> list[Figure]:
    others = parts_within(0, 1)
    return [Figure(f"{part}_{name}", mean_of_counted, others=others) for part in PARTS for name in SCORES]


def _is_chinese(task: Task) -> bool:
    return task.options.get("language") == "zh"


def _no_answer(task: Task) -> str | None:
    return task.options.get("no_answer")
