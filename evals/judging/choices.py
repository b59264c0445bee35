"""Tasks that are answered by choosing: the likeliest of several continuations of a prompt.

    accuracy        the choice of the largest log-likelihood LL(choice | prompt)
    accuracy_norm   of LL / characters of the choice      accuracy_bytes   of LL / UTF-8 bytes of it
    accuracy_pmi    of LL(choice | prompt) - LL(choice | nothing)

as lm-evaluation-harness defines acc, acc_norm, acc_bytes and acc_mutual_info; of two equal ones the first is chosen.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from evals.asking.likelihood import ChoiceScore, probabilities
from evals.asking.request_client import RequestClient
from evals.judging import calibration, classification
from evals.judging.cutting import tell_cuts
from evals.rows.row import Row
from evals.rows.samples import Sample
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.task_run import run_tasks
from evals.trial import Trial
from models.console.progress import Progress, part
from models.errors import RequestError

SCORES = {"accuracy": "log_likelihood", "accuracy_norm": "norm", "accuracy_bytes": "bytes", "accuracy_pmi": "pmi"}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Answer = list[dict[str, float]]  # for each choice its log-likelihood and the scores made of it


def run_choices(trial: Trial, metric: str) -> Iterator[Result]:
    """The figures of every task of a metric whose answers are chosen (see `evals.task_run.run_tasks`)."""
    asking = partial(answer, trial=trial)
    yield from run_tasks(trial, metric, figures, asking, judge, target, protocol, flips=flips, details=details)


def continuations(task: Task, row: Row) -> list[str]:
    """What may follow the prompt: the task's fixed choices, or those of the row behind the `delimiter`.

    The row's are listed in the field that `choices` names, or each has a field of its own and `choices` lists those.
    """
    choices = task.option("choices")
    if isinstance(choices, dict):
        return list(choices.values())
    delimiter = task.options.get("delimiter", " ")
    return [f"{delimiter}{choice}" for choice in _listed(task, row)]


def target(task: Task, row: Row) -> int:
    """The number of the right choice: told by its text, its number from 0, or its letter.

    With `label_is: number` it is the number in any case, for choices that are numbers themselves. RequestError for a
    label that is missing or none of them.
    """
    label, choices = task.label(row, task.option("label")), task.option("choices")
    known = [str(key) for key in choices] if isinstance(choices, dict) else _listed(task, row)
    if label in known and task.options.get("label_is") != "number":
        return known.index(label)
    if not isinstance(choices, dict):
        number = int(label) if label.isdecimal() else LETTERS.find(label.upper()) if len(label) == 1 else -1
        if 0 <= number < len(known):
            return number
    raise RequestError(f"{task.at(row)}: the label {label!r} is none of {', '.join(known)}.")


def check_row(task: Task, row: Row) -> None:
    """RequestError unless the row has its choices and says which is right."""
    continuations(task, row)
    target(task, row)


def answer(
    client: RequestClient, task: Task, rows: Sequence[Row], progress: Progress, trial: Trial | None = None
) -> list[Answer]:
    """The scores of every choice of every row; what was cut off their prompts is told to the trial."""
    asked = [(task.prompt_of(row), continuations(task, row)) for row in rows]
    scored = client.likelihoods(asked, part(progress, 0, 0.9 if _by_pmi(task) else 1))
    if trial is not None:
        tell_cuts(trial, client.name, task, [choices[0].dropped for choices in scored])
    answers = [
        [_scores(score, text) for score, text in zip(choices, _counted(task, row, asked_of), strict=True)]
        for choices, row, (_, asked_of) in zip(scored, rows, asked, strict=True)
    ]
    if _by_pmi(task):
        distinct = list(dict.fromkeys(choice for _, choices in asked for choice in choices))
        alone = client.likelihoods([("", [choice]) for choice in distinct], part(progress, 0.9, 1))
        prior = {choice: score.log_likelihood for choice, (score,) in zip(distinct, alone, strict=True)}
        for (_, choices), given in zip(asked, answers, strict=True):
            for choice, entry in zip(choices, given, strict=True):
                entry["pmi"] = entry["log_likelihood"] - prior[choice]
    return answers


def chosen(given: Answer, by: str = "log_likelihood") -> int:
    """The number of the choice with the largest score."""
    return max(range(len(given)), key=lambda at: given[at][by])


def figures(task: Task) -> list[Figure]:
    """The accuracies; where the choices are classes, also what the confusion matrix and the probabilities give."""
    found = [Figure(name) for name, score in SCORES.items() if score != "pmi" or _by_pmi(task)]
    choices = task.option("choices")
    if not isinstance(choices, dict):
        return found
    found += classification.figures([_class_name(task, at) for at in range(len(choices))])
    ece = calibration.expected_calibration_error
    found.append(Figure("ece", ece, higher_is_better=False, others=calibration.other_bins))
    found.append(Figure("brier", higher_is_better=False, bounds=calibration.BRIER_BOUNDS))
    return found


def judge(task: Task, row: Row, given: Answer) -> dict[str, list[float]]:
    """The sufficient statistics of one answer for every figure."""
    true = target(task, row)
    hits = {name: [float(chosen(given, score) == true)] for name, score in SCORES.items() if score in given[0]}
    choices = task.option("choices")
    if not isinstance(choices, dict):
        return hits
    cell = np.zeros((len(choices), len(choices)))
    cell[true, chosen(given)] = 1
    sure = probabilities([ChoiceScore("", entry["log_likelihood"], 1) for entry in given])
    names = [figure.name for figure in classification.figures([_class_name(task, at) for at in range(len(choices))])]
    of_probabilities = {"ece": calibration.confidence_bins(sure, true), "brier": [calibration.brier(sure, true)]}
    return hits | dict.fromkeys(names, cell.ravel().tolist()) | of_probabilities


def flips(first: Answer, second: Answer) -> float:
    """1.0 if two models choose differently, else 0.0."""
    return float(chosen(first) != chosen(second))


def details(task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    """The confusion matrix of classes, true ones in the rows, and the names of its rows and columns."""
    choices = task.option("choices")
    if not isinstance(choices, dict):
        return {}
    cells = np.sum([sample.statistics["mcc"] for sample in samples], axis=0)
    labels = [_class_name(task, at) for at in range(len(choices))]
    return {"labels": labels, "confusion": cells.reshape(len(choices), -1).astype(int).tolist()}


def protocol(task: Task) -> dict[str, Any]:
    """What the numbers rest on."""
    choices = task.option("choices")
    return {"choices": list(choices.values()) if isinstance(choices, dict) else "of each row"}


def _scores(score: ChoiceScore, text: str) -> dict[str, float]:
    total = score.log_likelihood
    return {
        "log_likelihood": total,
        "greedy": float(score.greedy),
        "norm": total / max(len(text), 1),
        "bytes": total / max(len(text.encode()), 1),
    }


def _counted(task: Task, row: Row, asked: Sequence[str]) -> list[str]:
    """What of every choice its length counts: the choice as the row has it, a class without the spaces before it."""
    if isinstance(task.option("choices"), dict):
        return [choice.lstrip(" ") for choice in asked]
    return _listed(task, row)


def _listed(task: Task, row: Row) -> list[str]:
    name = task.option("choices")
    if isinstance(name, list):
        return [task.text(row, each) for each in name]
    listed = task.field(row, name)
    if not isinstance(listed, list) or len(listed) < 2:
        raise RequestError(f"{task.at(row)}: the field {name!r} must be a list of two choices at least.")
    return task.texts(row, name, listed)


def _by_pmi(task: Task) -> bool:
    return bool(task.options.get("pmi", isinstance(task.option("choices"), dict)))


def _class_name(task: Task, at: int) -> str:
    return list(task.option("choices").values())[at].strip()
