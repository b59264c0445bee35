"""Sentiment: a review, and the word that tells its mood."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.formats import SENTIMENT_LABELS, STOP, classification_prompt, completion
from training.instructions import Example, reviews
from training.sources import SENTIMENT, Review, Source
from training.tasks import Keyed, Task

SST2, *UCI = SENTIMENT


def example(review: Review) -> Example:
    """A review and its label word."""
    label = completion(SENTIMENT_LABELS[review.label])
    return [(classification_prompt(review.text), False), (label + STOP, True)]


def _of(*sources: Source):
    def examples(root: Path, generator: Random) -> Iterator[Keyed]:
        for review in reviews(root, sources=sources):
            yield review.text, example(review)

    return examples


PHRASES = Task("phrases", "the mood of a phrase from a film review (SST-2)", _of(SST2), validated=False)
REVIEWS = Task("reviews", "the mood of a sentence from a review of a product, a film or a restaurant (UCI)", _of(*UCI))
