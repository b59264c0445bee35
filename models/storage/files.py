"""Files that are either whole or absent: written under a temporary name in the same folder, then renamed."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.console.stopping import give_way
from models.errors import RequestError
from models.storage.disk import WriteFailed, explained, remedy
from models.storage.reading import parse_json, reading

TEMPORARY = ".*.tmp-*"  # how temporary files and folders are called


def real_path(path: Path | str) -> Path:
    """The absolute path with its links followed, whether or not there is anything where they lead.

    RequestError if they lead round in a circle.
    """
    place = Path(os.path.realpath(path))
    if any(os.path.islink(part) for part in (place, *place.parents)):
        raise RequestError(f"The links of {path} lead round in a circle: name the place itself. Nothing was written.")
    return place


@contextlib.contextmanager
def new_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is flushed to disk and takes the name `path`.

    Where `path` is a link, what it leads to is written. Raises WriteFailed, with the reason and the remedy, if the disk
    is full or not writable; a failed write leaves no file behind, or names it.
    """
    place = real_path(path)
    with explained(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".tmp-file", dir=place.parent)
        os.close(handle)
    temporary = Path(name)
    with _written(path, temporary):
        yield temporary
        _sync(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)


@contextlib.contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success it is flushed and takes the name `path`.

    An existing `path` is refused, unless it is an empty folder or a link to one: nothing is ever overwritten. Errors as
    in `new_file`; whether the last step will work is for `models.storage.destination` to find out before the work.
    """
    refuse_existing(path)
    place = real_path(path)
    with explained(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp-folder", dir=place.parent))
    with _written(path, temporary):
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                os.chmod(file, 0o644)
                _sync(file)
        os.chmod(temporary, 0o755)
        if place.exists():
            place.rmdir()
        os.replace(temporary, place)


def clear_leftovers(path: Path | str) -> None:
    """Removes the temporary files and folders that killed processes left beside `path` when writing it."""
    path = real_path(path)
    begin = f".{path.name}."
    for leftover in path.parent.iterdir() if path.parent.is_dir() else ():
        if leftover.name.startswith(begin) and ".tmp-" in leftover.name[len(begin) :]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def refuse_existing(path: Path | str) -> None:
    """Raises RequestError if `path` is taken: by a file, by a folder that holds anything or is the one we are in."""
    place = real_path(path)
    try:
        taken = any(place.iterdir()) if place.is_dir() else place.exists()
        inside = place.is_dir() and real_path(os.curdir).is_relative_to(place)
    except OSError as error:
        told = f"{os.strerror(error.errno)}. {remedy(error.errno, place)}"
        raise RequestError(f"{path} cannot be used: {told} Nothing was written.") from None
    if taken:
        raise RequestError(f"{path} exists already: choose another folder, or remove it first. Nothing was written.")
    if inside:
        raise RequestError(
            f"{path} is the folder that this command works in, whose place a new one cannot take: choose a new folder "
            "inside it. Nothing was written."
        )


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file; one that is missing, broken or unreadable is a RequestError that names it."""
    return parse_json(Path(path))


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises as `models.storage.reading.reading` does."""
    digest = hashlib.sha256()
    with reading(path), open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            give_way()
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _written(path: Path | str, temporary: Path) -> Iterator[None]:
    """Explains what goes wrong in writing `path`, and removes what is half-written, or names it."""
    try:
        with explained(path):
            yield
    except WriteFailed as error:
        if _discard(temporary):
            raise
        left = f"{error.reason} What is half-written could not be removed: remove {temporary}."
        raise WriteFailed(path, left) from error
    finally:
        _discard(temporary)


def _discard(temporary: Path) -> bool:
    """Removes a file or a folder; whether it is gone."""
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return not os.path.lexists(temporary)
