"""What a higher floor adds to loading: kinds of folders, told apart by a file, and layouts of a loaded model.

Named here as `module:function` and imported when a folder or a name asks for it: loading works whatever was imported
before, and nothing heavy is imported for nothing.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from models.storage.reading import is_there

READERS = {"packing.json": "pruning.packing.folder:load_packed"}  # of (source, device, dtype or None)
LAYOUTS = {  # of a `MODEL::LAYOUT`: of (layout), and of (model, layout)
    "check": "pruning.packing.layout:check_layout",
    "apply": "pruning.packing.layout:apply_layout",
}


def find_reader(folder: Path) -> Callable | None:
    """What reads that folder; None for an ordinary one."""
    return next((_imported(reader) for marker, reader in READERS.items() if is_there(folder / marker)), None)


def find_layout(deed: str) -> Callable:
    """What checks a layout ("check"), or applies it ("apply")."""
    return _imported(LAYOUTS[deed])


def _imported(path: str) -> Callable:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
