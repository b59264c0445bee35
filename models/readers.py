"""Kinds of model folders that a higher floor knows how to read: each is told apart by a file that it holds.

A floor registers its reader where it is imported, as `module:function`, so that nothing heavy is imported with it.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from models.errors import RequestError

_readers: dict[str, str] = {}
KNOWN = {"packing.json": "pruning"}  # whose import registers the reader, for the message


def register_reader(marker: str, reader: str) -> None:
    """Has folders that hold a file `marker` read by `reader`, a `module:function` of (source, device, dtype or None)."""
    _readers[marker] = reader


def find_reader(folder: Path) -> Callable | None:
    """What reads that folder; None for an ordinary one. RequestError if its kind is known and not registered."""
    for marker, floor in KNOWN.items():
        if (folder / marker).exists():
            if marker not in _readers:
                raise RequestError(
                    f"{folder} holds a model in a format of its own: `import {floor}` before loading it."
                )
            module, _, name = _readers[marker].partition(":")
            return getattr(importlib.import_module(module), name)
    return None
