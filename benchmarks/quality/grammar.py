"""BLiMP: how often the grammatical sentence of a pair is the likelier one, over all and by linguistic term."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evals.measurement import Measurement
from evals.minimal_pairs import minimal_pairs, read_blimp
from models import Loaded
from models.progress import Progress

FILES = ("blimp/blimp.jsonl.gz",)
QUICK_PAIRS = 100  # of each set


def measure(loaded: Loaded, root: Path, quick: bool, progress: Progress) -> Iterator[Measurement]:
    """The mean accuracy over the 67 sets, then that of each term."""
    for measured in minimal_pairs(loaded, read_blimp(root / FILES[0]), QUICK_PAIRS if quick else None, progress):
        yield replace(measured, metric=f"blimp {measured.metric}")
