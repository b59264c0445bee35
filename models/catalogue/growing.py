"""A folder that others write in: how large its files are by now."""

import os
from pathlib import Path


def file_sizes(folder: Path) -> list[int]:
    """Bytes of every file in and below a folder; none if it is not there."""
    return [_size(Path(place, name)) for place, _, names in os.walk(folder) for name in names]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # it was renamed meanwhile
        return 0
