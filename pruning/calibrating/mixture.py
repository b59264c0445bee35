"""The texts that ship, mixed: files of several parts as one run of documents, of which every beginning is like the whole."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.text.columns import row_document
from models.text.dialogues import Dialogue

FOLDER = Path(__file__).parents[1] / "calibration" / "texts"
SOURCES = "SOURCES.json"  # beside the texts: the files, their parts, sizes, SHA-256, origins and licences
TEXT_BREAK = "\n===\n"  # between two documents of a .txt


@dataclass(frozen=True)
class Stream:
    """One file of documents, read as they are asked for: .txt, or .jsonl.zst with a text or messages on every line."""

    path: Path
    part: str
    characters: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, entry: dict) -> "Stream":
        """The stream that an entry of SOURCES.json is about."""
        return cls(folder / entry["file"], entry["part"], entry["characters"], entry["sha256"])

    def documents(self) -> Iterator[str | Dialogue]:
        """The documents."""
        if self.path.suffix == ".txt":
            yield from self.path.read_text(encoding="utf-8").split(TEXT_BREAK)
            return
        import zstandard

        with zstandard.open(self.path, "rt", encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                yield row_document(json.loads(line), None, f"{self.path}, line {number}")


@cache
def streams() -> tuple[Stream, ...]:
    """All files that ship."""
    entries = json.loads((FOLDER / SOURCES).read_text(encoding="utf-8"))["files"]
    return tuple(Stream.of(FOLDER, entry) for entry in entries)


def part_names() -> tuple[str, ...]:
    """The parts there are, in their order."""
    return tuple(dict.fromkeys(stream.part for stream in streams()))


def mixed(chosen: Iterable[Stream]) -> Iterator[str | Dialogue]:
    """The documents of several streams so that at any moment about the same share of each was given.

    The next document is of the stream whose share would be the smallest at that document's middle, the first of
    equals. Of a beginning of n characters each stream thus has its share of n, to within one document.
    """
    heads = []
    for order, stream in enumerate(chosen):
        rest = stream.documents()
        if (first := next(rest, None)) is not None:
            heads.append([_middle(first, 0, stream), order, first, 0, stream, rest])
    while heads:
        head = min(heads, key=lambda head: head[:2])
        _, _, document, given, stream, rest = head
        yield document
        given += _length(document)
        if (following := next(rest, None)) is None:
            heads.remove(head)
        else:
            head[0], head[2], head[3] = _middle(following, given, stream), following, given


def _middle(document: str | Dialogue, given: int, stream: Stream) -> float:
    return (given + _length(document) / 2) / stream.characters


def _length(document: str | Dialogue) -> int:
    return len(document) if isinstance(document, str) else sum(len(content) for _, content in document.messages)
