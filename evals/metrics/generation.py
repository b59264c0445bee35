"""Open generation: how varied a model's words are and how much it repeats itself (`evals.judging.repetition`)."""

from collections.abc import Iterator

from evals.judging import answering, repetition
from evals.judging.counted import mean_of_counted
from evals.judging.words import words
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.statistics.unseen import parts_within
from evals.task import Task
from evals.trial import Trial


@metric(tasks=True)
def generation(trial: Trial) -> Iterator[Result]:
    """Variety, repetition and length of texts that are written on from an opening."""
    yield from answering.run_written(trial, "generation", figures, judge, lambda task, row: None)


def figures(task: Task) -> list[Figure]:
    """All that there is to tell of a text without a right answer."""
    share, rate = parts_within(0, 1), repetition.repetition_rate
    return [
        *(Figure(f"distinct_{n}", mean_of_counted, others=share) for n in repetition.ORDERS),
        Figure(f"seq_rep_{repetition.REPEATED}", mean_of_counted, higher_is_better=False, others=share),
        Figure("repetition_rate", rate, higher_is_better=False, others=repetition.other_counts),
        Figure("length", unit="words", bounds=None),
    ]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The sufficient statistics of one text."""
    found = words(written)
    return {
        **{f"distinct_{n}": repetition.distinct(found, n) for n in repetition.ORDERS},
        f"seq_rep_{repetition.REPEATED}": repetition.sequence_repetition(found),
        "repetition_rate": repetition.repetition(found),
        "length": [float(len(found))],
    }
