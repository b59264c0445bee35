"""Question answering where the context may not hold the answer (SQuAD 2.0; Rajpurkar et al. 2018).

A passage is asked its answerable questions, too: among none but unanswerable ones the word would need no reading.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.instructions import passages
from training.sources import UNANSWERABLE
from training.tasks import Keyed, Task
from training.tasks.questions import example


def examples(root: Path, generator: Random) -> Iterator[Keyed]:
    """Every training passage of SQuAD 2.0 that has an unanswerable question, once."""
    for passage in passages(root, sources=(UNANSWERABLE,)):
        if not all(answers for _, answers in passage.questions):
            yield passage.article, example(passage, generator)


TASK = Task("unanswerable", "questions, half of them without an answer in the context (SQuAD 2.0)", examples)
