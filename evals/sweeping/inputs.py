"""Files of this machine by names that mean the same wherever a cell runs.

A cell runs in a folder of its own, its workspace, where every input lies under its name: as a link on this machine, as
a copy on another. So results name the same things, whatever machine they come from, and no path of it.
"""

import os
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from models.storage.files import sha256

TAKEN = ("embedded", "self")  # mean something else to the command lines


class Inputs:
    """The files and folders that were named so far."""

    def __init__(self) -> None:
        self._places: dict[str, Path] = {}
        self._files: dict[str, dict[str, Path]] = {}

    def add_file(self, path: Path | str) -> str:
        """The name of a file."""
        name = self._name(path)
        self._files[name] = {name: self._places[name]}
        return name

    def add_folder(self, path: Path | str, files: Iterable[str]) -> str:
        """The name of a folder of which only these files are there, given relative to it."""
        name = self._name(path)
        self._files[name] = {f"{name}/{file}": self._places[name] / file for file in files}
        return name

    def files(self, names: Iterable[str]) -> dict[str, Path]:
        """The files of the inputs of some names: their paths here by their paths in a workspace."""
        return {inside: place for name in names for inside, place in self._files.get(name, {}).items()}

    def digests(self, names: Iterable[str]) -> dict[str, str]:
        """The SHA-256 of those files, by their paths in a workspace."""
        return {inside: sha256(place) for inside, place in self.files(names).items()}

    def _name(self, path: Path | str) -> str:
        """The last part of the path, or where that is taken as many of them, joined by `--`, as tell it apart."""
        place = Path(os.path.abspath(Path(path).expanduser()))
        parts = place.parts[1:]
        names = ["--".join(parts[-length:]) for length in range(1, len(parts) + 1)]
        whole = names[-1] if names else ""
        marked = ("-" * dashes + whole for dashes in count(1))  # where two paths are the same with `--` for `/`
        free = (name for name in chain(names, marked) if name not in TAKEN)
        name = next(name for name in free if self._places.get(name, place) == place)
        self._places[name] = place
        return name
