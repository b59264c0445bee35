"""Documents of a person's own choice: a text file, or a data set of the Hub. For calibration and for measuring alike."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.errors import EspalierError, RequestError, first_line
from models.storage.disk import full
from models.storage.reading import is_there, reading, require_file
from models.text.characters import check_strings, checked
from models.text.columns import row_document
from models.text.dialogues import Dialogue

PLAIN = (".txt", ".raw")  # of plain text; WikiText's own files end in .raw
SUFFIXES = tuple(f"{kind}{packed}" for packed in ("", ".gz") for kind in (*PLAIN, ".jsonl"))
HUB_DATASET = re.compile(
    r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?"
)
FORMS = (
    "a .txt or .raw file, a .jsonl file with a field `text` or a conversation a line (either may end in .gz), "
    "or a Hub data set owner/name[@revision][:config[:split]]"
)


def is_hub_name(data: str) -> bool:
    """Whether `data` names a Hub data set: of its form, and neither a path nor the name of a kind of file."""
    looks_like_file = data.startswith((".", "/", "~")) or Path(data).suffix in (
        *PLAIN,
        ".jsonl",
        ".json",
        ".gz",
        ".csv",
    )
    return not looks_like_file and HUB_DATASET.fullmatch(data) is not None


def file_documents(path: Path, columns: Sequence[str] | None = None) -> Iterator[str | Dialogue]:
    """The documents of a file: one of plain text is one, a .jsonl one a line (see `models.text.columns.row_document`).

    Raises RequestError, naming the line where there is one, if the file is missing, of another kind, damaged, not
    UTF-8, has characters that nobody can use, or its lines are no objects with `columns` (None: with known ones).
    """
    if is_there(path) and not path.name.lower().endswith(SUFFIXES):
        raise RequestError(f"{path} is not a text that can be read here: give {FORMS}.")
    require_file(path, f"There is no file {path}: give {FORMS}.")
    kind = path.name.lower().removesuffix(".gz")
    try:
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        with reading(path), opener(path, "rt", encoding="utf-8-sig", newline="") as file:  # line ends as they are
            if kind.endswith(PLAIN):
                if columns:
                    raise RequestError(f"{path} is plain text and has no columns: omit --columns.")
                yield checked(file.read(), str(path))
            else:
                lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
                yield from (_line_document(f"{path}, line {number}", line, columns) for number, line in lines)
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from None
    except (EOFError, OSError, zlib.error) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; make it again.") from None


def hub_documents(
    name: str, splits: Sequence[str], seed: int | None = None, columns: Sequence[str] | None = None
) -> tuple[str, Iterator[str | Dialogue]]:
    """The documents of a Hub data set `owner/name[@revision][:config[:split]]`, as a stream.

    Without a split in the name the first of `splits` that the set has is taken; its name is returned too. With a
    seed the stream is shuffled within a buffer. A row is read as `models.text.columns.row_document` says. Raises
    RequestError for what the person can mend (no library, no such configuration, split or column), EspalierError where
    the Hub cannot be reached.
    """
    asked = HUB_DATASET.fullmatch(name).groupdict()
    try:
        import datasets
    except ImportError:
        raise RequestError(
            f"Reading the Hub data set {name} needs the package `datasets`: `pip install datasets`, or give a file."
        ) from None
    repo, config, revision = asked["repo"], asked["config"], asked["revision"]
    try:
        found = datasets.get_dataset_split_names(repo, config_name=config, revision=revision)
        split = asked["split"] or next((name for name in splits if name in found), found[0])
        if split not in found:
            raise RequestError(f"The data set {repo} has no split {split}: use one of {', '.join(found)}.")
        rows = datasets.load_dataset(repo, config, split=split, revision=revision, streaming=True)
    except RequestError:
        raise
    except Exception as error:
        raise explain_hub_error(name, error) from error
    return split, _row_documents(name, rows if seed is None else rows.shuffle(seed=seed, buffer_size=1000), columns)


def only_texts(documents: Iterator[str | Dialogue], place: str) -> Iterator[str]:
    """The documents; RequestError for a conversation, which is no running text."""
    for document in documents:
        if isinstance(document, Dialogue):
            raise RequestError(
                f"{place} holds conversations (such as messages, or a prompt and its response), and running text is "
                "read here: give a text, or .jsonl with a field `text`."
            )
        yield document


def _row_documents(name: str, rows, columns: Sequence[str] | None) -> Iterator[str | Dialogue]:
    try:
        for number, row in enumerate(rows, 1):
            place = f"The data set {name}, row {number} as it was read"
            document = row_document(row, columns, place)
            check_strings(_strings(document), f"{place},", nul=True)
            yield document
    except EspalierError:
        raise
    except Exception as error:
        raise explain_hub_error(name, error) from error


def explain_hub_error(name: str, error: Exception) -> EspalierError:
    """What a person is told when `datasets` fails: RequestError for a wrong choice, else EspalierError."""
    if failed := full(error):
        return failed
    if isinstance(error, ValueError):  # an unknown or missing configuration: the library's text lists those there are
        return RequestError(f"The data set {name} could not be chosen: {first_line(error, 200)}")
    return EspalierError(
        f"The data set {name} could not be fetched ({first_line(error, 200)}): check its name and the network, "
        "or give a file."
    )


def _line_document(place: str, line: str, columns: Sequence[str] | None) -> str | Dialogue:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    document = row_document(row, columns, place)
    if isinstance(document, str):
        return checked(document, place)
    check_strings(_strings(document), place)
    return document


def _strings(document: str | Dialogue) -> str | tuple:
    return document if isinstance(document, str) else document.messages
