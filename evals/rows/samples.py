"""One sample of a task: what a model was asked, what it answered, and what that counts for."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sample:
    """`doc` is the row; `statistics` has for each figure the sufficient statistics [k] of this sample.

    `answer` is of JSON types: a text that was written, or a list with an entry for each choice.
    """

    doc_id: int
    doc: dict
    prompt: str
    target: Any
    answer: Any
    statistics: dict[str, list[float]] = field(default_factory=dict)
