"""Documents read from a file of any size: text, jsonl, csv or tsv, plain or compressed (.gz, .xz), told by its name.

What cannot be read does not stop the reading: it comes as a `Broken` line among the documents.
"""

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import RequestError
from models.storage.reading import require_file
from models.text.characters import fault_of

COMPRESSIONS = {".gz": gzip.open, ".xz": lzma.open}
LONGEST = 40_000  # characters of a document that is left whole
PIECE = 8_000  # characters of the pieces of a longer one: they then mix with other documents
LONGEST_FIELD = 1 << 24  # characters of a table's field; csv's own limit is less than a book
MOST_BROKEN = 0.01  # of the lines of a file


@dataclass(frozen=True)
class Broken:
    """A line, counted from 1, that could not be read, and why."""

    line: int
    reason: str


def read_documents(path: Path, fields: tuple[str, ...] = ("text",)) -> Iterator[str | Broken]:
    """The documents of a file and its broken lines, one by one.

    A text file is cut into pieces at blank lines; of jsonl, csv (commas) and tsv (tabs), the last two with a header,
    every row is a document: its `fields`, joined by a line end. Documents of more than LONGEST characters come in
    pieces. Raises RequestError if the kind is unknown, the file is cut off, a field is in none of its rows' header, or
    more than 1 % of its lines are broken.
    """
    path = Path(path)
    kind = kind_of(path)
    broken, first, last = 0, None, 0
    require_file(path, f"There is no file {path}: check the path.")
    try:
        for number, item in _ROWS[kind](path, fields):
            last = number
            if isinstance(item, Broken):
                broken, first = broken + 1, first or item
                yield item
            elif len(item) <= LONGEST or kind == ".txt":
                yield item
            else:
                yield from pieces(item.splitlines(keepends=True))
    except (EOFError, OSError, csv.Error, lzma.LZMAError, zlib.error) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; make it again.") from None
    if broken > MOST_BROKEN * last:
        raise RequestError(
            f"{path}: {broken} of {last} lines are broken, more than 1 % (line {first.line}: {first.reason}): "
            "mend the file."
        )


def kind_of(path: Path) -> str:
    """`.txt`, `.jsonl`, `.csv` or `.tsv`; RequestError for other names."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    kind = Path(name).suffix
    if kind not in _ROWS:
        raise RequestError(f"{path} is not a .txt, .jsonl, .csv or .tsv file (.gz or .xz may follow): convert it.")
    return kind


def pieces(lines: Iterable[str]) -> Iterator[str]:
    """Lines (with their ends) put together to pieces of about PIECE characters, cut at blank lines where there are any.

    Together they are the text; none is longer than three times PIECE.
    """
    piece, size = [], 0
    for line in lines:
        for part in _parts(line):
            piece.append(part)
            size += len(part)
            if size >= PIECE and (not part.strip() or size >= 2 * PIECE):
                yield "".join(piece)
                piece, size = [], 0
    if piece:
        yield "".join(piece)


def _parts(line: str) -> Iterator[str]:
    while len(line) > PIECE:
        end = line.rfind(" ", 1, PIECE) + 1 or PIECE
        yield line[:end]
        line = line[end:]
    yield line


Rows = Iterator[tuple[int, str | Broken]]


def _lines(path: Path) -> Rows:
    opener = COMPRESSIONS.get(path.suffix.lower(), open)
    with opener(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                yield number, Broken(number, f"not UTF-8 at byte {error.start}")
            else:
                yield number, _usable(number, text)


class _WholeLines:
    """The lines of a file that are text; the others are put by, until `take_broken` asks for them."""

    def __init__(self, path: Path):
        self.path, self.number = path, 0
        self.broken: list[Broken] = []

    def __iter__(self) -> Iterator[str]:
        for number, line in _lines(self.path):
            self.number = number
            if isinstance(line, Broken):
                self.broken.append(line)
            else:
                yield line

    def take_broken(self) -> Rows:
        taken, self.broken = self.broken, []
        return ((self.number, line) for line in taken)


def _text_rows(path: Path, fields: tuple[str, ...]) -> Rows:
    lines = _WholeLines(path)
    for piece in pieces(lines):
        yield lines.number, piece
        yield from lines.take_broken()
    yield from lines.take_broken()


def _json_rows(path: Path, fields: tuple[str, ...]) -> Rows:
    for number, line in _lines(path):
        if isinstance(line, Broken):
            yield number, line
        elif line.strip():
            yield number, _row(number, line, fields)


def _row(number: int, line: str, fields: tuple[str, ...]) -> str | Broken:
    try:
        row = json.loads(line)
    except ValueError as error:
        return Broken(number, f"not JSON ({error})")
    except RecursionError:
        return Broken(number, "JSON nested too deeply")
    values = [row.get(field) for field in fields] if isinstance(row, dict) else [None]
    if not all(isinstance(value, str) for value in values):
        return Broken(number, f"no JSON object with {' and '.join(fields)} as strings")
    return _usable(number, "\n".join(values))


def _usable(number: int, text: str) -> str | Broken:
    return Broken(number, fault) if (fault := fault_of(text)) else text


def _table_rows(path: Path, fields: tuple[str, ...]) -> Rows:
    lines = _WholeLines(path)
    csv.field_size_limit(LONGEST_FIELD)
    commas = kind_of(path) == ".csv"
    rows = csv.reader(lines, delimiter="," if commas else "\t", quoting=csv.QUOTE_MINIMAL if commas else csv.QUOTE_NONE)
    header = next(rows, [])
    if missing := [field for field in fields if field not in header]:
        has = ", ".join(header)
        raise RequestError(f"{path} has no column {missing[0]} (its header is {has}): name one with --field.")
    places = [header.index(field) for field in fields]
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            yield lines.number, Broken(lines.number, f"no row of a table ({error})")
            continue
        yield from lines.take_broken()
        if len(row) == len(header):
            yield lines.number, "\n".join(row[place] for place in places)
        elif row:
            yield lines.number, Broken(lines.number, f"{len(row)} columns where the header has {len(header)}")
    yield from lines.take_broken()


_ROWS = {".txt": _text_rows, ".jsonl": _json_rows, ".csv": _table_rows, ".tsv": _table_rows}
