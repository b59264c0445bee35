"""Questions with several answers to choose from, other ones for each question."""

from collections.abc import Iterator

from evals.judging.choices import check_row, run_choices
from evals.registry import metric
from evals.runs.results import Result
from evals.trial import Trial


@metric(tasks=True, scores=True, check=check_row)
def choice(trial: Trial) -> Iterator[Result]:
    """Accuracy of answers chosen by log-likelihood: as it is, by character, by byte."""
    yield from run_choices(trial, "choice")
