"""The text that perplexity is taken on: the embedded prose, a file, or a data set of the Hub."""

import gzip
import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evals.texts import prose
from models.errors import EspalierError, RequestError

JOINT = "\n\n"  # between two documents, as the GPTQ protocol joins the lines of WikiText
HUB_DATASET = re.compile(
    r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?(:(?P<split>[\w.-]+))?"
)
SPLITS = ("test", "validation", "train")
FORMS = "a .txt file, a .jsonl file with a field `text` (either may end in .gz), or a Hub data set"


@dataclass(frozen=True)
class Text:
    """One evaluation text: what it is called, its content, and the revision of the data set it came from."""

    id: str
    content: str
    revision: str | None = None

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the UTF-8 content, in hex."""
        return hashlib.sha256(self.content.encode()).hexdigest()


def as_text(text: "str | Text") -> Text:
    """A Text as it is; a plain string, checked, under the name `embedded` if it is that, else `text`."""
    if isinstance(text, Text):
        return text
    return embedded() if text == prose() else _checked(Text("text", text))


def embedded() -> Text:
    """The prose that ships with the project."""
    return Text("embedded", prose())


def load_text(data: str) -> Text:
    """Reads `embedded`, FILE or HUB_DATASET (`owner/name[@revision][:config[:split]]`).

    The documents of a .jsonl file or a data set are joined by a blank line, and the split is the first of test,
    validation and train that the data set has, unless named.
    Raises RequestError for everything the person can mend, EspalierError where the Hub cannot be reached.
    """
    if data == "embedded":
        return embedded()
    path = Path(data).expanduser()
    if path.exists():
        return _checked(Text(path.name, _read_file(path)))
    match = HUB_DATASET.fullmatch(data)
    if match is None or path.suffix in (".txt", ".jsonl", ".json", ".gz", ".csv") or data.startswith((".", "/", "~")):
        raise RequestError(f"There is no file {data}: give {FORMS}, or `embedded`.")
    return _checked(_from_hub(data, **match.groupdict()))


def _read_file(path: Path) -> str:
    suffixes = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
    if path.is_dir() or not suffixes or suffixes[0] not in (".txt", ".jsonl"):
        raise RequestError(f"{path} is not a text that can be read here: give {FORMS}.")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content = raw.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error) as error:
        raise RequestError(f"{path} cannot be read ({error}): it may be cut off; make it again.") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from None
    return content if suffixes[0] == ".txt" else JOINT.join(_documents(path, content))


def _documents(path: Path, content: str) -> list[str]:
    documents = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            document = None
        if not isinstance(document, str):
            raise RequestError(f"{path}, line {number}: every line must be a JSON object with a string field `text`.")
        documents.append(document)
    return documents


def _from_hub(data: str, repo: str, revision: str | None, config: str | None, split: str | None) -> Text:
    try:
        import datasets
    except ImportError:
        raise RequestError(
            f"There is no file {data}, and reading it as a Hub data set needs the package `datasets`: "
            "`pip install datasets`, or give a file."
        ) from None
    try:
        splits = datasets.get_dataset_split_names(repo, config_name=config, revision=revision)
        chosen = split or next((name for name in SPLITS if name in splits), splits[0])
        if chosen not in splits:
            raise RequestError(f"The data set {repo} has no split {chosen}: use one of {', '.join(splits)}.")
        rows = datasets.load_dataset(repo, config, split=chosen, revision=revision)
    except RequestError:
        raise
    except ValueError as error:  # an unknown or missing configuration: the library's text lists those there are
        raise RequestError(f"The data set {data} could not be chosen: {_first_line(error)}") from None
    except Exception as error:
        raise EspalierError(
            f"The data set {data} could not be fetched ({_first_line(error)}): check its name and the network, "
            "or give a file."
        ) from error
    if "text" not in rows.column_names:
        columns = ", ".join(rows.column_names)
        raise RequestError(f"The data set {repo} has no column `text` (it has {columns}): use another.")
    return Text(f"{data}:{chosen}" if split is None else data, JOINT.join(rows["text"]), revision)


def _checked(text: Text) -> Text:
    if not text.content.strip():
        raise RequestError(f"The text {text.id} is empty: give one with some thousand words.")
    try:
        text.content.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"The text {text.id} holds half a character at {error.start}: mend its encoding.") from None
    return text


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
