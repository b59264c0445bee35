"""The mood of reviews by the log-likelihood of the two label words: SST-2 test, and the review sentences kept back."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evals.classification import classification
from evals.likelihood import score_prompts
from evals.measurement import Measurement
from models import Loaded
from models.progress import Progress, part
from training.formats import SENTIMENT_LABELS, classification_prompt, completion
from training.instructions import reviews
from training.sources import SENTIMENT, Review, read_sst2

SST2 = "sst2_glue/test.tsv.gz"
FILES = (SST2, *(source.path for source in SENTIMENT))
QUICK_REVIEWS = 200


def measure(loaded: Loaded, root: Path, quick: bool, progress: Progress) -> Iterator[Measurement]:
    """Accuracy, MCC, precision, recall and F1 on each set."""
    sets = {"sst2_test": list(read_sst2(root / SST2)), "uci_heldout": list(reviews(root, held_out=True))}
    for number, (name, rows) in enumerate(sets.items()):
        rows = rows[:QUICK_REVIEWS] if quick else rows
        predicted = moods(loaded, rows, part(progress, number / len(sets), (number + 1) / len(sets)))
        for measured in classification([review.label for review in rows], predicted, SENTIMENT_LABELS):
            protocol = {"name": "log-likelihood of the label word"} | measured.protocol
            yield replace(measured, metric=f"{name} {measured.metric}", protocol=protocol)


def moods(loaded: Loaded, rows: list[Review], progress: Progress) -> list[int]:
    """For each review the number of its likelier label."""
    choices = [completion(label) for label in SENTIMENT_LABELS]
    asked = [(classification_prompt(review.text), choices) for review in rows]
    scored = score_prompts(loaded.model, loaded.tokenizer, asked, progress)
    return [max(range(len(choices)), key=lambda at: scores[at].log_likelihood) for scores in scored]
