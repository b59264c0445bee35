"""Sentiment, augmented: the reviews with a few words replaced, inserted, swapped or deleted, their labels unchanged."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from training.formats import SENTIMENT_LABELS
from training.instructions import reviews
from training.sources import Review
from training.tasks import Keyed, Task
from training.tasks.sentiment import UCI, example


def changed(originals: Sequence[Review], generator: Random) -> Iterator[Review]:
    """Each review with a few of its words changed; other words for a word are learnt from the texts of its label."""
    from training.augmentation import augment
    from training.neighbours import near_neighbours

    near = [
        near_neighbours(review.text for review in originals if review.label == label)
        for label in range(len(SENTIMENT_LABELS))
    ]
    for review in originals:
        yield Review(augment(review.text, generator, near[review.label]), review.label)


def examples(root: Path, generator: Random) -> Iterator[Keyed]:
    """Every review of UCI's sets changed once, under the key of the original."""
    originals = list(reviews(root, sources=UCI))
    for original, review in zip(originals, changed(originals, generator), strict=True):
        yield original.text, example(review)


TASK = Task("augmented", "the reviews with a few words changed (UCI)", examples)
