"""The texts that the embedded model learns from: where each lies below a data folder, its licence, its reader.

`ROOT` is a folder laid out as its README says (`wikipedia_en_2015/train.jsonl.xz`, ...). Each reader yields
documents or labelled examples one by one, so that memory does not grow with the corpus.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from models.errors import RequestError
from training.documents import COMPRESSIONS, read_documents


@dataclass(frozen=True)
class Source:
    """One set of texts: its file below the data folder, its licence, and how it is read."""

    name: str
    path: str
    licence: str
    read: Callable[[Path], Iterator[Any]]

    @property
    def label(self) -> str:
        """Its file as reports name it: below the data folder, or without the folder where it lies elsewhere."""
        return Path(self.path).name if Path(self.path).is_absolute() else self.path

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of its rows that are read, where its reader was told any."""
        return getattr(self.read, "keywords", {}).get("fields", ())

    def file(self, root: Path) -> Path:
        """Its file below `root`; RequestError if it is not there."""
        file = Path(root) / self.path
        if not file.exists():
            raise RequestError(f"{file} does not exist: --source must name the folder that holds {self.path}.")
        return file

    def open(self, root: Path) -> Iterator[Any]:
        """Yields the items of this source below `root`; RequestError if the file is not there."""
        return self.read(self.file(root))


@dataclass(frozen=True)
class Review:
    """A text with a label: 1 positive, 0 negative."""

    text: str
    label: int


@dataclass(frozen=True)
class Passage:
    """A paragraph of an article with its questions, each with its reference answers."""

    article: str
    context: str
    questions: tuple[tuple[str, tuple[str, ...]], ...]


def open_text(path: Path) -> TextIO:
    """Opens a UTF-8 text file, plain or compressed (.gz, .xz), for reading."""
    return COMPRESSIONS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig")


def read_sst2(path: Path) -> Iterator[Review]:
    """Rows of the GLUE layout, their spaced-out tokens joined again as people write; blank lines are none.

    RequestError, with its line, for a row that is no text, tab and 0 or 1.
    """
    with open_text(path) as file:
        next(file, None)
        for number, line in enumerate(file, 2):
            text, tab, label = line.rstrip("\n").partition("\t")
            if not line.strip():
                continue
            if not tab or label.strip() not in ("0", "1") or not text.strip():
                raise RequestError(f"{path}, line {number}: no text, a tab and 0 or 1: mend the line.")
            yield Review(join_tokens(text), int(label))


def read_labelled_lines(path: Path) -> Iterator[Review]:
    """Lines of a text, a tab and a label."""
    with open_text(path) as file:
        for line in file:
            text, _, label = line.rstrip("\n").rpartition("\t")
            if text.strip() and label in ("0", "1"):
                yield Review(text.strip(), int(label))


def read_squad(path: Path, unanswerable: bool = False) -> Iterator[Passage]:
    """The paragraphs of a file in the SQuAD layout; questions without an answer only if `unanswerable`."""
    with open_text(path) as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            questions = tuple(
                (qa["question"], tuple(dict.fromkeys(a["text"] for a in qa["answers"])))
                for qa in paragraph["qas"]
                if qa["answers"] or unanswerable
            )
            if questions:
                yield Passage(article["title"], paragraph["context"], questions)


def join_tokens(text: str) -> str:
    """Undoes the Treebank spacing of SST-2: `do n't go , please .` becomes `don't go, please.`"""
    for spaced, joined in _JOINS:
        text = text.replace(spaced, joined)
    return text.strip()


_JOINS = [
    (f" {mark}", mark) for mark in (",", ".", "!", "?", ";", ":", "'s", "n't", "'re", "'ve", "'ll", "'d", "'m", "%")
]
_JOINS += [("-lrb- ", "("), (" -rrb-", ")"), ("`` ", '"'), (" ''", '"'), ("$ ", "$")]

PRETRAINING = (
    Source(
        "Wikipedia 2015",
        "wikipedia_en_2015/train.jsonl.xz",
        "CC BY-SA 3.0",
        partial(read_documents, fields=("title", "text")),
    ),
    Source("Novels 1847-1922", "novels_en/novels.jsonl.xz", "public domain", read_documents),
)
SENTIMENT = (
    Source("SST-2", "sst2_glue/train.tsv.gz", "research use, no explicit licence", read_sst2),
    Source("Amazon sentences", "reviews_uci/amazon_cells_labelled.txt", "CC BY 4.0", read_labelled_lines),
    Source("IMDb sentences", "reviews_uci/imdb_labelled.txt", "CC BY 4.0", read_labelled_lines),
    Source("Yelp sentences", "reviews_uci/yelp_labelled.txt", "CC BY 4.0", read_labelled_lines),
)
UNANSWERABLE = Source("SQuAD 2.0 dev", "squad/dev-v2.0.json.gz", "CC BY-SA 4.0", partial(read_squad, unanswerable=True))
QUESTIONS = (Source("SQuAD 1.1 dev", "squad/dev-v1.1.json.gz", "CC BY-SA 4.0", read_squad),)
