"""What the model is fine-tuned on: one file a task format.

A task's `examples(root, generator)` yields its training examples in the order of their source, each with the key that
the splits go by (the article's title, the sentence); what is kept back for measuring is never among them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from training.instructions import Example

Keyed = tuple[str, Example]


@dataclass(frozen=True)
class Task:
    """One format: its name on the command line, what it asks, and where its examples come from.

    `validated` is False where a search may not measure on a part of it: the phrases of SST-2 overlap, so that a
    phrase put aside is known from the longer ones that hold it.
    """

    name: str
    summary: str
    examples: Callable[[Path, Random], Iterator[Keyed]]
    validated: bool = True


def tasks() -> dict[str, Task]:
    """All tasks by name."""
    from training.tasks import augmented, cloze, headline, questions, sentiment, unanswerable

    found = (
        sentiment.PHRASES,
        sentiment.REVIEWS,
        augmented.TASK,
        questions.TASK,
        unanswerable.TASK,
        cloze.TASK,
        headline.TASK,
    )
    return {task.name: task for task in found}
