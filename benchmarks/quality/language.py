"""Perplexity and bits per byte on the held-out Wikipedia articles and on WikiText-2 test (raw)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evals.data import Text
from evals.measurement import Measurement
from evals.perplexity import score, summarise
from models import Loaded
from models.progress import Progress, part
from training.sources import open_text

WIKIPEDIA = "wikipedia_en_2015/heldout.jsonl.gz"
WIKITEXT = "wikitext2/wiki.test.raw.gz"
FILES = (WIKIPEDIA, WIKITEXT)
QUICK_WINDOWS = 60


def measure(loaded: Loaded, root: Path, quick: bool, progress: Progress) -> Iterator[Measurement]:
    """Perplexity and bits per byte of each text, by the `gptq` protocol."""
    with open_text(root / WIKIPEDIA) as file:
        wikipedia = "\n\n".join(json.loads(line)["text"] for line in file)
    with open_text(root / WIKITEXT) as file:
        wikitext = file.read()
    texts = (Text("wikipedia_heldout", wikipedia), Text("wikitext2_test_raw", wikitext))
    for number, text in enumerate(texts):
        share = part(progress, number / len(texts), (number + 1) / len(texts))
        for measured in summarise(score(loaded, text, most=QUICK_WINDOWS if quick else None, progress=share)):
            yield replace(measured, metric=f"{text.id} {measured.metric}")
