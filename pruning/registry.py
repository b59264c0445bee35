"""The methods there are. Each is one file in the folder of its kind, and names itself with `@register`.

Nothing else lists them: the command line, the page and the documentation all read `catalogue()`. The file's object
may be a function or a class; what each kind must offer is written in the docstring of its folder.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.errors import RequestError

FOLDERS = {
    "method": "pruning.scores",
    "pattern": "pruning.patterns",
    "structure": "pruning.structures",
    "allocation": "pruning.allocation",
    "schedule": "pruning.schedules",
    "solver": "pruning.solvers",
    "recover": "pruning.recovery",
    "calibration": "pruning.calibration",
}
Registered = TypeVar("Registered", bound=Callable)
_entries: dict[str, dict[str, "Entry"]] = {kind: {} for kind in FOLDERS}


@dataclass(frozen=True)
class Entry:
    """One registered method.

    `structure` is what a "method" scores for: "none" (single weights) or the name of a structure. `needs` names the
    statistics it reads, `group` is the comparison group it was published with, `methods` are those a "solver" can
    work with (None: all) and `chooses` those whose scores it works out as it goes, so that none are taken before;
    `examples` are ways to write a name that is a form and not a word, such as `2:4` for `N:M`.
    `measure` is what an "allocation" takes down of each projection of the dense model (`pruning.allocation`).
    """

    kind: str
    name: str
    summary: str
    implementation: Any = field(repr=False)
    structure: str = "none"
    needs: tuple[str, ...] = ()
    group: str | None = None
    methods: tuple[str, ...] | None = None
    chooses: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    measure: Callable | None = field(default=None, repr=False)

    def as_dict(self) -> dict:
        """The entry as JSON types, without its implementation."""
        entry = {"kind": self.kind, "name": self.name, "summary": self.summary}
        if self.kind == "method":
            entry |= {"structure": self.structure, "needs": list(self.needs), "group": self.group}
        if self.kind in ("solver", "allocation"):
            entry |= {"needs": list(self.needs)}
        if self.methods is not None:
            entry["methods"] = list(self.methods)
        if self.examples:
            entry["examples"] = list(self.examples)
        return entry


def register(kind: str, name: str, **traits: Any) -> Callable[[Registered], Registered]:
    """Decorator that puts a function or class into the catalogue, its first docstring line as the summary.

    `traits` are the further fields of `Entry`. Raises ValueError for a name given twice or a missing docstring:
    both are mistakes of the file's author.
    """

    def add(implementation: Registered) -> Registered:
        if name in _entries[kind]:
            raise ValueError(f"there are two {kind}s of the name {name}")
        if not implementation.__doc__:
            raise ValueError(f"the {kind} {name} has no docstring")
        summary = implementation.__doc__.strip().splitlines()[0]
        _entries[kind][name] = Entry(kind, name, summary, implementation, **traits)
        return implementation

    return add


def entries(kind: str) -> list[Entry]:
    """All entries of one kind, by name; imports the files of its folder the first time."""
    package = importlib.import_module(FOLDERS[kind])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{FOLDERS[kind]}.{module.name}")
    return sorted(_entries[kind].values(), key=lambda entry: entry.name)


def catalogue() -> list[Entry]:
    """Every entry of every kind there is."""
    return [entry for kind in FOLDERS for entry in entries(kind)]


def find(kind: str, name: str) -> Entry:
    """The entry of that exact name. RequestError, with the known names, if there is none."""
    for entry in entries(kind):
        if entry.name == name:
            return entry
    raise unknown(kind, name)


def unknown(kind: str, name: str) -> RequestError:
    """The error for a name that no entry of `kind` answers to."""
    known = ", ".join(spelling for entry in entries(kind) for spelling in entry.examples or (entry.name,))
    return RequestError(f"Unknown {kind} {name!r}: use one of {known}.")
