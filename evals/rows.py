"""Rows of labelled data, whatever the layout of their file: each row a dict of named fields.

Layouts: `jsonl`, `csv`, `tsv` (told by the file's name; `columns` names the fields of a table without a header),
`squad` (SQuAD's JSON: one row a question), `conll` (one row a sentence: `words`, `tags`, `sentence`) and `parallel`
(several files of aligned lines). A file may end in .gz or .xz, or be a .zip that holds one file.
"""

import csv
import gzip
import io
import itertools
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from models.errors import RequestError

OPENERS = {".gz": gzip.open, ".xz": lzma.open}
LARGEST_FIELD = 1 << 24  # characters; csv's own limit is less than a long review
Row = dict


def read_rows(path: Path, layout: str | None = None, columns: Sequence[str] = ()) -> list[Row]:
    """All rows of a file. RequestError, with the line where there is one, for what is missing, broken or unknown."""
    layout = layout or kind_of(path)
    if layout not in LAYOUTS:
        raise RequestError(f"{path}: unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}.")
    if not path.is_file():
        raise RequestError(f"There is no file {path}: give the folder of the data sets by --source.")
    try:
        with _opened(path) as file:
            rows = list(LAYOUTS[layout](file, path, tuple(columns)))
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from None
    except (EOFError, OSError, csv.Error, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; fetch it again.") from None
    if not rows:
        raise RequestError(f"{path} holds no row: check the file.")
    return rows


def read_parallel(paths: Sequence[Path], columns: Sequence[str]) -> list[Row]:
    """Rows of files whose lines belong together, a column a file. RequestError if they differ in length or number."""
    if len(paths) != len(columns):
        raise RequestError(f"{len(paths)} files of aligned lines need as many columns, not {len(columns)}: name them.")
    sides = [[row["line"] for row in read_rows(path, "lines")] for path in paths]
    if len({len(side) for side in sides}) > 1:
        lengths = ", ".join(f"{path.name} {len(side)}" for path, side in zip(paths, sides, strict=True))
        raise RequestError(f"The files are not aligned ({lengths} lines): fetch them again.")
    return [dict(zip(columns, lines, strict=True)) for lines in zip(*sides, strict=True)]


def kind_of(path: Path) -> str:
    """The layout that a file's name tells: `reviews.csv.gz` is `csv`."""
    names = [suffix for suffix in path.suffixes if suffix.lower() not in (*OPENERS, ".zip")]
    kind = names[-1].lower().removeprefix(".") if names else ""
    if kind not in ("jsonl", "csv", "tsv"):
        raise RequestError(f"{path} is not a .jsonl, .csv or .tsv file (.gz, .xz or .zip may follow): convert it.")
    return kind


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise RequestError(f"{path} holds {len(names)} files: give an archive of one.")
            with archive.open(names[0]) as inner, io.TextIOWrapper(inner, encoding="utf-8-sig", newline="") as file:
                yield file
    else:
        with OPENERS.get(path.suffix.lower(), open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file


def _jsonl(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise RequestError(f"{path}, line {number}: every line must be a JSON object.")
        yield row


def _table(delimiter: str, quoting: int) -> Callable[[TextIO, Path, tuple[str, ...]], Iterator[Row]]:
    def read(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
        csv.field_size_limit(LARGEST_FIELD)
        lines = csv.reader(file, delimiter=delimiter, quoting=quoting)
        names = list(columns) or next(lines, [])
        for cells in lines:
            if len(cells) < len(names):
                raise RequestError(f"{path}, line {lines.line_num}: {len(cells)} columns where {len(names)} are named.")
            yield {name: cell.lstrip("\ufeff") for name, cell in zip(names, cells, strict=False)}

    return read


def _squad(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    try:
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield {
                        "id": asked["id"],
                        "title": article.get("title", ""),
                        # In one line each, as models were taught to read them: a line's end would end the field.
                        "context": " ".join(paragraph["context"].split()),
                        "question": " ".join(asked["question"].split()),
                        "answers": list(dict.fromkeys(answer["text"] for answer in asked["answers"])),
                        "impossible": bool(asked.get("is_impossible", False)),
                    }
    except (ValueError, KeyError, TypeError):
        raise RequestError(f"{path} is not in SQuAD's layout: give its JSON file.") from None


def _conll(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    for filled, lines in itertools.groupby(file, key=lambda line: bool(line.strip())):
        if filled:
            cells = [line.rstrip("\r\n").split("\t") for line in lines]
            if any(len(cell) < 2 for cell in cells):
                raise RequestError(f"{path}: a line has no tag; every line must be a word, a tab and its tag.")
            words = [cell[0].split(":", 1)[-1] or ":" for cell in cells]
            yield {"words": words, "tags": [cell[-1] for cell in cells], "sentence": " ".join(words)}


def _lines(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    return ({"line": line.rstrip("\r\n")} for line in file)


LAYOUTS = {
    "jsonl": _jsonl,
    "csv": _table(",", csv.QUOTE_MINIMAL),
    "tsv": _table("\t", csv.QUOTE_NONE),  # a quotation mark in a sentence quotes no field
    "squad": _squad,
    "conll": _conll,
    "lines": _lines,
}
