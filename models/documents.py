"""Documents of a person's own choice: a text file, or a data set of the Hub. For calibration and for measuring alike."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.characters import check_strings, checked
from models.disk import full
from models.errors import EspalierError, RequestError, first_line
from models.reading import is_there, reading, require_file

PLAIN = (".txt", ".raw")  # of plain text; WikiText's own files end in .raw
SUFFIXES = tuple(f"{kind}{packed}" for packed in ("", ".gz") for kind in (*PLAIN, ".jsonl"))
HUB_DATASET = re.compile(
    r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?"
)
FORMS = (
    "a .txt or .raw file, a .jsonl file with a field `text` (either may end in .gz), "
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


def file_documents(path: Path) -> Iterator[str]:
    """The documents of a file: one of plain text is one, a .jsonl one a line.

    Raises RequestError, naming the line where there is one, if the file is missing, of another kind, damaged, not
    UTF-8, has characters that nobody can use, or holds something else than objects with a string field `text`.
    """
    if is_there(path) and not path.name.lower().endswith(SUFFIXES):
        raise RequestError(f"{path} is not a text that can be read here: give {FORMS}.")
    require_file(path, f"There is no file {path}: give {FORMS}.")
    kind = path.name.lower().removesuffix(".gz")
    try:
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        with reading(path), opener(path, "rt", encoding="utf-8-sig", newline="") as file:  # line ends as they are
            if kind.endswith(PLAIN):
                yield checked(file.read(), str(path))
            else:
                yield from (_text_field(path, number, line) for number, line in enumerate(file, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from None
    except (EOFError, OSError, zlib.error) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; make it again.") from None


def hub_documents(name: str, splits: Sequence[str], seed: int | None = None) -> tuple[str, Iterator[str]]:
    """The documents (column `text`) of a Hub data set `owner/name[@revision][:config[:split]]`, as a stream.

    Without a split in the name the first of `splits` that the set has is taken; its name is returned too. With a
    seed the stream is shuffled within a buffer. Raises RequestError for what the person can mend (no library, no such
    configuration, split or column), EspalierError where the Hub cannot be reached.
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
    return split, _text_column(name, rows if seed is None else rows.shuffle(seed=seed, buffer_size=1000))


def _text_column(name: str, rows) -> Iterator[str]:
    try:
        for number, row in enumerate(rows, 1):
            if "text" not in row:
                raise RequestError(f"The data set {name} has no column `text` (it has {', '.join(row)}): use another.")
            if not isinstance(row["text"], str):
                raise RequestError(f"The data set {name}, row {number} as it was read: `text` is {row['text']!r:.40}: use another.")
            check_strings(row["text"], f"The data set {name}, row {number} as it was read,", nul=True)
            yield row["text"]
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


def _text_field(path: Path, number: int, line: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise RequestError(f"{path}, line {number}: every line must be a JSON object with a string field `text`.")
    return checked(text, f"{path}, line {number}")
