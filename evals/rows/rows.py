"""Rows of labelled data, whatever the layout of their file: each row a dict of named fields that knows its line.

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

from evals.rows.row import Row
from models.errors import RequestError
from models.storage.reading import reading, require_file
from models.text.characters import BYTE_ORDER_MARK, check_strings

OPENERS = {".gz": gzip.open, ".xz": lzma.open}
LARGEST_FIELD = 1 << 24  # characters; csv's own limit is less than a long review
QUOTING = "put a text that holds commas or quotation marks in quotation marks, and double those within it"


def read_rows(path: Path, layout: str | None = None, columns: Sequence[str] = ()) -> list[Row]:
    """All rows of a file. RequestError, with the line where there is one, for what is missing, broken or unknown.

    No string of a row has half a character or NUL in it. Blank lines of a .jsonl, .csv or .tsv file are no rows.
    """
    layout = layout or kind_of(path)
    if layout not in LAYOUTS:
        raise RequestError(f"{path}: unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}.")
    require_file(path, f"There is no file {path}: give the folder of the data sets by --source.")
    try:
        with reading(path), _opened(path) as file:
            rows = list(LAYOUTS[layout](file, path, tuple(columns)))
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from None
    except (EOFError, OSError, csv.Error, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; fetch it again.") from None
    if not rows:
        raise RequestError(f"{path} holds no row: check the file.")
    for row in rows:
        check_strings(row, row.where)
    return rows


def read_parallel(paths: Sequence[Path], columns: Sequence[str | None]) -> list[Row]:
    """Rows of files whose lines belong together, a column a file. RequestError if they differ in length or number.

    Blank lines at the end of a file do not count. A column without a name stands for the fields of a .jsonl file.
    """
    if len(paths) != len(columns):
        raise RequestError(f"{len(paths)} files of aligned lines need as many columns, not {len(columns)}: name them.")
    sides = [_side(path, name) for path, name in zip(paths, columns, strict=True)]
    if len({len(side) for side in sides}) > 1:
        lengths = ", ".join(f"{path.name} {len(side)}" for path, side in zip(paths, sides, strict=True))
        raise RequestError(f"The files are not aligned ({lengths} lines): fetch them again.")
    return [
        Row({name: value for row in beside for name, value in row.items()}, beside[0].where)
        for beside in zip(*sides, strict=True)
    ]


def _side(path: Path, name: str | None) -> list[Row]:
    """The rows of one file among aligned ones."""
    if name is None:
        return read_rows(path)
    return [Row({name: row["line"]}, row.where) for row in _without_blank_end(read_rows(path, "lines"))]


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
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise RequestError(f"{path}, line {number}: every line must be a JSON object.")
        yield Row(row, f"{path}, line {number}")


def _table(delimiter: str, quoting: int) -> Callable[[TextIO, Path, tuple[str, ...]], Iterator[Row]]:
    def read(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
        csv.field_size_limit(LARGEST_FIELD)
        # strict: a quotation mark that is never closed would make the rest of the file one field.
        lines = _lines_of_table(csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True), path)
        names = list(columns) or _header(*next(lines, ("", [])))
        for where, cells in lines:
            if len(cells) != len(names):
                advice = f"; {QUOTING}" if quoting != csv.QUOTE_NONE and len(cells) > len(names) else ""
                raise RequestError(f"{where}: {len(cells)} columns where {len(names)} are named{advice}.")
            yield Row({name: cell.lstrip(BYTE_ORDER_MARK) for name, cell in zip(names, cells, strict=True)}, where)

    return read


def _lines_of_table(lines, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each line of a table begins that is not blank, and its cells."""
    while True:
        where = f"{path}, line {lines.line_num + 1}"
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise RequestError(f"{where}: no row of a table ({error}); {QUOTING}.") from None
        if len(cells) > 1 or "".join(cells).strip():
            yield where, cells


def _header(where: str, cells: Sequence[str]) -> list[str]:
    """The names of the columns. RequestError if two have one name."""
    names = [cell.strip(BYTE_ORDER_MARK).strip() for cell in cells]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise RequestError(f"{where}: two columns are called {twice[0]!r}: rename one.")
    return names


def _squad(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    number = 1
    try:
        for article in json.load(file)["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    fields = {
                        "id": asked["id"],
                        "title": article.get("title", ""),
                        # In one line each, as models were taught to read them: a line's end would end the field.
                        "context": " ".join(paragraph["context"].split()),
                        "question": " ".join(asked["question"].split()),
                        "answers": list(dict.fromkeys(answer["text"] for answer in asked["answers"])),
                        "impossible": bool(asked.get("is_impossible", False)),
                    }
                    yield Row(fields, f"{path}, question {number}")
                    number += 1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RequestError(f"{path} is not in SQuAD's layout (question {number}): give its JSON file.") from None


def _conll(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    for filled, lines in itertools.groupby(enumerate(file, 1), key=lambda line: bool(line[1].strip())):
        if filled:
            numbered = [(number, line.rstrip("\r\n").split("\t")) for number, line in lines]
            for number, cell in numbered:
                if len(cell) < 2 or not cell[0].strip() or not cell[-1].strip():
                    raise RequestError(
                        f"{path}, line {number}: a line has no tag; every line must be a word, a tab and its tag."
                    )
            words = [cell[0].split(":", 1)[-1] or ":" for _, cell in numbered]
            tags = [cell[-1].strip() for _, cell in numbered]
            fields = {"words": words, "tags": tags, "sentence": " ".join(words)}
            yield Row(fields, f"{path}, line {numbered[0][0]}")


def _lines(file: TextIO, path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    return (Row({"line": line.rstrip("\r\n")}, f"{path}, line {number}") for number, line in enumerate(file, 1))


def _without_blank_end(rows: Sequence[Row]) -> list[Row]:
    filled = [at for at, row in enumerate(rows, 1) if row["line"].strip()]
    return list(rows[: filled[-1] if filled else 0])


LAYOUTS = {
    "jsonl": _jsonl,
    "csv": _table(",", csv.QUOTE_MINIMAL),
    "tsv": _table("\t", csv.QUOTE_NONE),  # a quotation mark in a sentence quotes no field
    "squad": _squad,
    "conll": _conll,
    "lines": _lines,
}
