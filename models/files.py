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

from models.errors import EspalierError, RequestError

TEMPORARY = ".*.tmp-*"  # how temporary files and folders are called


@contextlib.contextmanager
def new_file(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is flushed to disk and takes the name `path`.

    Raises EspalierError if the disk is full or not writable; a failed write leaves no file behind.
    """
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp-file", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success it is flushed and takes the name `path`.

    An existing `path` is refused, unless it is an empty folder: nothing is ever overwritten.
    """
    path = Path(path)
    refuse_existing(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp-folder", dir=path.parent))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    os.chmod(file, 0o644)
                    _sync(file)
            os.chmod(temporary, 0o755)
            if path.exists():
                path.rmdir()
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def clear_leftovers(path: Path | str) -> None:
    """Removes the temporary files and folders that killed processes left beside `path` when writing it."""
    path = Path(path)
    begin = f".{path.name}."
    for leftover in path.parent.iterdir() if path.parent.is_dir() else ():
        if leftover.name.startswith(begin) and ".tmp-" in leftover.name[len(begin) :]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def refuse_existing(path: Path | str) -> None:
    """Raises RequestError if `path` is taken by a file or by a folder that holds anything."""
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise RequestError(f"{path} exists already: choose another folder, or remove it first. Nothing was written.")


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file; a missing or broken one is a RequestError that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist: check the path.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(f"{path} is not valid JSON ({error}): it may be cut off; make it again.") from None


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise EspalierError(f"Could not write {path}: {reason}. Free some space or choose another folder.") from error
