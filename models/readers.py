"""What a higher floor adds to loading: kinds of folders, told apart by a file, and layouts of a loaded model.

A floor registers them where it is imported, as `module:function`, so that nothing heavy is imported with it.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from models.errors import RequestError
from models.reading import is_there

_readers: dict[str, str] = {}
_layouts: dict[str, str] = {}
KNOWN = {"packing.json": "pruning"}  # whose import registers the reader, for the message


def register_reader(marker: str, reader: str) -> None:
    """Has folders that hold a file `marker` read by `reader`, a `module:function` of (source, device, dtype or None)."""
    _readers[marker] = reader


def find_reader(folder: Path) -> Callable | None:
    """What reads that folder; None for an ordinary one. RequestError if its kind is known and not registered."""
    for marker, floor in KNOWN.items():
        if is_there(folder / marker):
            if marker not in _readers:
                raise RequestError(
                    f"{folder} holds a model in a format of its own: `import {floor}` before loading it."
                )
            return _imported(_readers[marker])
    return None


def register_layouts(check: str, apply: str) -> None:
    """Has the layout of a `MODEL::LAYOUT` checked by the function (layout) and applied by the one of (model, layout)."""
    _layouts.update(check=check, apply=apply)


def find_layout(deed: str) -> Callable:
    """What checks a layout, or applies it. RequestError if no layouts are registered."""
    if deed not in _layouts:
        raise RequestError("A layout after :: needs `import pruning` before loading; or omit it.")
    return _imported(_layouts[deed])


def _imported(path: str) -> Callable:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
