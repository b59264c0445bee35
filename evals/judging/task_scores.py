"""The one score that stands for a task in a plot."""

from collections import defaultdict
from collections.abc import Sequence

from evals.runs.results import Result

# The first of these that was measured of a task, else whatever was measured first.
SCORES = ("accuracy", "exact_match", "f1", "bleu", "chrf", "rouge1", "distinct_2")
TO_100 = ("bleu", "chrf")  # all others are shares of 0..1
Scores = dict[str, dict[str, Result]]  # by task, by model


def task_scores(results: Sequence[Result]) -> Scores:
    """The score of every task for every model that has it."""
    measured: dict[str, dict[str, dict[str, Result]]] = defaultdict(lambda: defaultdict(dict))  # by task, metric, model
    for result in results:
        if result.task and result.baseline is None:
            measured[result.task][result.measurement.metric].setdefault(result.model, result)
    return {
        task: found[next((name for name in SCORES if name in found), next(iter(found)))]
        for task, found in measured.items()
    }


def scale(scores: dict[str, Result]) -> str:
    """What the values of a task's score run over: a unit, or `0 to 1`, or `0 to 100`."""
    measurement = next(iter(scores.values())).measurement
    return measurement.unit or ("0 to 100" if measurement.metric in TO_100 else "0 to 1")
