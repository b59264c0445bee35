"""The texts of the real model's table: what perplexity is taken on, and the web pages that may be calibrated on."""

import json
from pathlib import Path

from evals.text_losses.data import Text
from models.errors import RequestError
from training.sources import open_text

WIKITEXT, C4 = "wikitext2/wiki.test.raw.gz", "c4_sample/c4.jsonl.gz"
LONGEST = 300_000  # characters that are tokenised: what is not measured would only cost time


def wikitext(source: Path) -> Text:
    """WikiText-2 test, raw."""
    with _opened(source, WIKITEXT) as file:
        return Text("wikitext2_test_raw", file.read()[:LONGEST])


def web_pages(source: Path) -> tuple[list[str], Text]:
    """Beginnings of pages of C4: those that may be calibrated on, and the others, joined by spaces, to measure on.

    Joined as Wanda and SparseGPT join the pages of their C4 perplexity; the two halves are of alternate rows.
    """
    with _opened(source, C4) as file:
        rows = [json.loads(line) for line in file]
    pages = [row["prefix"] + row["gold_completion"] for row in rows]
    return pages[::2], Text("c4_sample", " ".join(pages[1::2]))


def _opened(source: Path, name: str):
    if not (source / name).is_file():
        raise RequestError(f"{source / name} does not exist: --source must name the folder of training/README.md.")
    return open_text(source / name)
