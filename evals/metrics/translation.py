"""Translation: corpus BLEU and chrF of sacrebleu, with their signatures.

A task says the `language` that is translated into, and which fields have the `references`.
"""

from collections.abc import Iterator

from evals.judging import answering
from evals.judging import translation as scores
from evals.registry import metric
from evals.rows.row import Row
from evals.runs.results import Result
from evals.statistics.figures import Figure
from evals.task import Task
from evals.trial import Trial


@metric(tasks=True, check=answering.check_references)
def translation(trial: Trial) -> Iterator[Result]:
    """Corpus BLEU and chrF of translations, as sacrebleu computes them, with its signatures."""
    # Before any model writes: without sacrebleu it would be for nothing.
    definitions = {task.name: definition(task) for task in trial.tasks("translation")}
    yield from answering.run_written(trial, "translation", figures, judge, answering.references, definitions)


def figures(task: Task) -> list[Figure]:
    """The two scores of a corpus."""
    return [scores.BLEU, scores.CHRF]


def judge(task: Task, row: Row, written: str) -> dict[str, list[float]]:
    """The sufficient statistics of one translation."""
    text, wanted = written.strip(), answering.references(task, row)
    return {
        "bleu": scores.bleu_statistics(text, wanted, task.option("language")),
        "chrf": scores.chrf_statistics(text, wanted),
    }


def definition(task: Task) -> dict[str, str]:
    """sacrebleu's signatures."""
    found = scores.signatures(task.option("language"), [len(task.option("references"))])
    return {f"{name}_signature": signature for name, signature in found.items()}
