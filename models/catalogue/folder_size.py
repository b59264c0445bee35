"""How many bytes a folder holds while others write in it."""

import os
from pathlib import Path


def folder_size(folder: Path) -> int:
    """Bytes of all files in and below a folder; 0 if it is not there."""
    return sum(_size(Path(place, name)) for place, _, names in os.walk(folder) for name in names)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # it was renamed meanwhile
        return 0
