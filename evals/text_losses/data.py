"""The text that perplexity is taken on: the embedded prose, a file, or a data set of the Hub."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from evals.texts import prose
from models.errors import RequestError
from models.storage.reading import is_there, user_path
from models.text.characters import check_strings
from models.text.documents import HUB_DATASET, file_documents, hub_documents, is_hub_name, only_texts

JOINT = "\n\n"  # between two documents, as the GPTQ protocol joins the lines of WikiText
SPLITS = ("test", "validation", "train")


@dataclass(frozen=True)
class Text:
    """One evaluation text: what it is called, its content, and the revision of the data set it came from.

    `documents` are what the content was joined from by blank lines; without them it is one document.
    """

    id: str
    content: str
    revision: str | None = None
    documents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.documents:
            object.__setattr__(self, "documents", (self.content,))

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
    """The prose that ships with the project; its documents are its paragraphs."""
    return _joined("embedded", prose().split(JOINT))


def load_text(data: str) -> Text:
    """Reads `embedded`, FILE or HUB_DATASET (`owner/name[@revision][:config[:split]]`), documents joined by a blank line.

    Raises RequestError for everything the person can mend, EspalierError where the Hub cannot be reached.
    """
    if data == "embedded":
        return embedded()
    path = user_path(data)
    if is_there(path) or not is_hub_name(data):
        return _checked(_joined(path.name, only_texts(file_documents(path), str(path))))
    split, documents = hub_documents(data, SPLITS)
    chosen = HUB_DATASET.fullmatch(data)
    name = data if chosen["split"] else f"{data}:{split}"
    return _checked(_joined(name, only_texts(documents, f"The data set {data}"), chosen["revision"]))


def _joined(id: str, documents: Iterable[str], revision: str | None = None) -> Text:
    documents = tuple(documents)
    return Text(id, JOINT.join(documents), revision, documents)


def _checked(text: Text) -> Text:
    if not text.content.strip():
        raise RequestError(f"The text {text.id} is empty: give one with some thousand words.")
    check_strings(text.content, f"The text {text.id}", nul=True)
    return text
