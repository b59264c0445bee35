"""Classification: the likeliest of the words for the classes, after each text."""

from collections.abc import Iterator

from evals.judging.choices import check_row, run_choices
from evals.registry import metric
from evals.runs.results import Result
from evals.trial import Trial


@metric(tasks=True, scores=True, check=check_row)
def classification(trial: Trial) -> Iterator[Result]:
    """Accuracy, precision, recall, F1, MCC and calibration of classes chosen by log-likelihood."""
    yield from run_choices(trial, "classification")
