"""Encyclopedia articles taken apart for the tasks built from them: title, sections, paragraphs, sentences."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.documents import Broken
from training.sources import PRETRAINING

SHORTEST, LONGEST = 200, 1200  # characters of a paragraph that tells something and leaves room for questions
HEADING = re.compile(r"[A-Z][^.!?]{2,58}\.")  # a line of its own; the extractor ended it with a full stop
SENTENCE_END = re.compile(r"(?:(?<=[a-z0-9)\"][.!?])|(?<=[.!?]\")) (?=[(\"A-Z])")


class Paragraph(NamedTuple):
    """A paragraph of `SHORTEST` to `LONGEST` characters; `heading` names it if it is the first of its section."""

    heading: str | None
    text: str


def articles(root: Path) -> Iterator[tuple[str, list[Paragraph]]]:
    """Title and paragraphs of each pretraining article that has any, in the order of the file."""
    wikipedia = PRETRAINING[0]
    for document in wikipedia.open(root):
        if isinstance(document, Broken):
            continue
        title, _, body = document.partition("\n")
        if paragraphs := list(_paragraphs(title, body)):
            yield title, paragraphs


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph: cut after a mark that follows no capital letter, and before a capital one or an opening mark."""
    return SENTENCE_END.split(paragraph)


def _paragraphs(title: str, body: str) -> Iterator[Paragraph]:
    heading: str | None = title
    for line in body.split("\n"):
        line = line.strip()
        if HEADING.fullmatch(line):
            heading = line.removesuffix(".")
        elif line:
            if SHORTEST <= len(line) <= LONGEST:
                yield Paragraph(heading, line)
            heading = None
