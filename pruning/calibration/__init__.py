"""Where calibration text comes from: one file a source, a class with

* `accepts(name) -> bool`: whether `--calibration name` means it;
* `identity(name, columns=None) -> str | None`: what the text is beyond its name; RequestError if it is not there;
* `documents(request) -> iterable of documents`: texts, conversations, or lists of token ids, until the caller has
  enough;
* `takes_columns`: whether its rows have columns that `--columns` can name;
* `even`: whether any beginning of its documents is like the whole, so that no more of it need be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.console.progress import Progress
from models.text.dialogues import Dialogue
from pruning import registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Document = str | Dialogue | Sequence[int]


@dataclass(frozen=True)
class Request:
    """What is wanted: `samples` windows of `length` tokens for this model, from the source called `name`.

    `columns` are those of its rows that are to be joined; None leaves it to the source.
    """

    name: str
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    samples: int
    length: int
    seed: int
    progress: Progress | None = None
    columns: Sequence[str] | None = None


def find_source(name: str):
    """The calibration source that `name` means, an exact name before a form. RequestError if none answers to it."""
    entries = registry.entries("calibration")
    for entry in sorted(entries, key=lambda entry: entry.name != name):
        if entry.implementation.accepts(name):
            return entry.implementation()
    raise registry.unknown("calibration", name)


def with_columns(identity: str, columns: Sequence[str] | None) -> str:
    """The identity of a text of which only some columns are read."""
    return f"{identity}, columns {', '.join(columns)}" if columns else identity
