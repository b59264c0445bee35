"""The fine-tuning mixture: how often each task is seen, how much old text with it, how much a prompt counts.

Imports nothing heavy: the command line reads its defaults from here.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from models.errors import RequestError
from training.instructions import Example
from training.tasks import Task, tasks

EPOCHS = {
    "phrases": 1.0,
    "reviews": 3.0,
    "augmented": 0.0,
    "questions": 3.0,
    "unanswerable": 0.25,
    "cloze": 1.0,
    "headline": 0.25,
}


@dataclass(frozen=True)
class Mixture:
    """Passes over each task's examples (a fraction: so many of them, drawn at random), and what is mixed in.

    `pretraining_share` is the share of windows of pretraining text among all, so that the model keeps its language;
    `prompt_weight` is what a prompt token counts in the loss, against 1 of a completion's.
    Raises RequestError for a task that does not exist, negative epochs, or shares outside their range.
    """

    epochs: Mapping[str, float] = field(default_factory=EPOCHS.copy)
    pretraining_share: float = 0.2
    prompt_weight: float = 0.1

    def __post_init__(self) -> None:
        if unknown := set(self.epochs) - set(tasks()):
            raise RequestError(f"Unknown task {sorted(unknown)[0]!r}: use {', '.join(tasks())}.")
        if not any(self.epochs.values()) or not all(0 <= epochs < inf for epochs in self.epochs.values()):
            raise RequestError("Epochs must be 0 or more, and above 0 for at least one task.")
        if not 0 <= self.pretraining_share < 1 or not 0 <= self.prompt_weight <= 1:
            raise RequestError("The share of pretraining windows must be below 1, the weight of a prompt at most 1.")


def read_epochs(words: Sequence[str]) -> dict[str, float]:
    """The epochs that `TASK=EPOCHS ...` says, over the defaults; RequestError for what is not a number."""
    epochs = dict(EPOCHS)
    for word in words:
        name, _, number = word.partition("=")
        try:
            epochs[name] = float(number)
        except ValueError:
            raise RequestError(f"{word!r} is no TASK=EPOCHS: write, for instance, cloze=0.5.") from None
    return epochs


def mixed_examples(
    mixture: Mixture, root: Path, generator: random.Random, keep: Callable[[Task, str], bool] | None = None
) -> Iterator[tuple[str, Example]]:
    """All examples of a mixture with their tasks' names, task by task; `keep(task, key)` may leave some out.

    Every pass makes its examples anew, so that another paragraph, question order or gap is drawn each time.
    """
    for name, epochs in mixture.epochs.items():
        task = tasks()[name]
        while epochs > 0:
            for key, example in task.examples(root, generator):
                if (epochs >= 1 or generator.random() < epochs) and (keep is None or keep(task, key)):
                    yield name, example
            epochs -= 1
