"""LAMBADA: the last word of a passage, which needs the whole passage to be guessed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evals.last_word import last_word, read_lambada
from evals.measurement import Measurement
from models import Loaded
from models.progress import Progress

FILES = ("lambada/lambada_test.jsonl.gz",)
QUICK_PASSAGES = 300


def measure(loaded: Loaded, root: Path, quick: bool, progress: Progress) -> Iterator[Measurement]:
    """Accuracy of the last word, and its perplexity."""
    passages = read_lambada(root / FILES[0])
    for measured in last_word(loaded, passages[:QUICK_PASSAGES] if quick else passages, progress):
        yield replace(measured, metric=f"lambada {measured.metric}")
