"""The dequantised copy of a GGUF file in the user's cache: made once, whole or not there."""

import math
import os
import shutil
import sys
import time
from pathlib import Path

from models.catalogue.child import watch
from models.console.progress import Progress, silent
from models.console.units import format_bytes
from models.errors import EspalierError, RequestError
from models.formats.gguf import is_copy, read_contents
from models.storage.cache_folder import alone, cache_folder
from models.storage.files import clear_leftovers, new_folder, sha256

ROOT = Path(__file__).parents[2]
SPEED = 8e6  # parameters a second on two slow cores, for the progress bar alone
ROOM = 1.1  # of the bytes that the copy will have


def gguf_in(folder: Path) -> Path | None:
    """The GGUF file of a folder without config.json; None where there is none. RequestError if there are several."""
    files = sorted(file for file in folder.glob("*.gguf") if not file.name.startswith("mmproj"))
    if not files or (folder / "config.json").exists():
        return None
    if len(files) > 1:
        raise RequestError(f"{folder} holds {len(files)} GGUF files: name one, such as {files[0]}.")
    return files[0]


def dequantised(file: Path, source: str, progress: Progress = silent) -> Path:
    """The folder of the dequantised copy of `file`, made if it is not in the cache. `source` says where it comes from.

    Raises RequestError where the file is damaged or of a family that cannot be read, or the disk has no room;
    `progress` may raise to cancel: nothing is left behind.
    """
    progress(0.0, f"Reading {file.name}")
    place = cache_folder("models", f"gguf-{sha256(file)[:16]}")
    if is_copy(place):
        return place
    contents = read_contents(file)
    require_room(place.parent, int(ROOM * contents.parameters * (4 if contents.dtype == "float32" else 2)), file.name)
    with alone(place.with_suffix(".lock"), lambda: progress(0.0, "Another process dequantises it: waiting")):
        if is_copy(place):
            return place
        clear_leftovers(place)
        shutil.rmtree(place, ignore_errors=True)
        with new_folder(place) as temporary:
            _convert(file, temporary, source, contents.parameters, progress)
    return place


def require_room(folder: Path, needed: int, what: str) -> None:
    """RequestError if the disk of `folder` has less than `needed` bytes free."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise RequestError(
            f"{what} needs {format_bytes(needed)} in {folder} and {format_bytes(free)} are free: free some space, or set "
            "ESPALIER_CACHE to a folder on another disk."
        )


def _convert(file: Path, folder: Path, source: str, parameters: int, progress: Progress) -> None:
    began, expected = time.monotonic(), 10 + parameters / SPEED

    def looking() -> None:
        gone = (time.monotonic() - began) / expected
        progress(1 - math.exp(-gone), f"Dequantising {file.name}")  # on a busy machine it slows down, but never stands

    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-m", "models.formats.gguf", str(file), str(folder), source]
    words = watch(command, looking, environment)
    if words is not None:
        raise EspalierError((words.splitlines() or [f"{file.name} could not be dequantised."])[-1])
