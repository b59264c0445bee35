"""Files that are read: what is not there, is no file, or may not be read is one line with the file and the remedy."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.errors import EspalierError, RequestError
from models.text.characters import check_strings

# What the person who asked can mend; the disk itself is at fault in all other cases.
MENDABLE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def is_there(path: Path | str) -> bool:
    """Whether anything has that name, a link that leads nowhere and a file that may not be read included.

    RequestError if the folder that it would be in may not be looked into.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise unreadable(error, path) from None
        return False
    except ValueError:  # a name that no file can have
        return False
    return True


def user_path(name: Path | str) -> Path:
    """The path with `~` as the user's home; one whose user nobody knows stays as it is, and will not be there."""
    return Path(os.path.expanduser(name))


@contextlib.contextmanager
def reading(path: Path | str | None = None) -> Iterator[None]:
    """Explains what goes wrong in reading `path`, or whatever file the error names (see `unreadable`).

    Errors that bring no number, of damaged archives for instance, pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise unreadable(error, path) from error


def unreadable(error: OSError, path: Path | str | None = None) -> EspalierError:
    """The line for a file that cannot be read: RequestError where the person can mend it, else EspalierError."""
    path = Path(os.fsdecode(path or error.filename or "a file"))
    if error.errno not in MENDABLE:
        return EspalierError(f"{path} cannot be read ({error.strerror}): check the disk that it is on.")
    return RequestError(f"{path} {_fault(path, error.errno)}")


def unopened(error: BaseException) -> EspalierError | None:
    """The line for an error that nobody foresaw, if it is about a file that could not be opened; None for others."""
    kinds = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    return unreadable(error) if isinstance(error, kinds) and isinstance(error.filename, str | bytes) else None


def require_file(path: Path | str, missing: str) -> None:
    """RequestError unless `path` is a file that may be read; `missing` is said if nothing is there."""
    if not is_there(path):
        raise RequestError(missing)
    with reading(path), open(path, "rb"):
        pass


def require_files(paths: Iterable[Path]) -> None:
    """RequestError unless every one of these files, which are there by name, can be opened."""
    for path in paths:
        require_file(path, f"{path} is gone: fetch or make it again.")


def parse_json(path: Path) -> Any:
    """What a JSON file says. RequestError, naming it, if it cannot be read or is no JSON."""
    try:
        with reading(path):
            text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text)
    except RecursionError:
        raise RequestError(f"{path} is no JSON of ours (nested too deeply): make it again.") from None
    except ValueError as error:
        raise RequestError(f"{path} is not valid JSON ({error}): it may be cut off; make it again.") from None
    if "\\ud" in text.lower():  # UTF-8 has no half of a character but in this form
        check_strings(value, str(path))
    return value


def parse_object(path: Path, again: str = "fetch or save the model again") -> dict:
    """What a JSON file says that must hold one object, `{...}`. RequestError, naming it, if it holds anything else."""
    value = parse_json(path)
    if not isinstance(value, dict):
        raise RequestError(f"{path} holds {kind_of(value)} where a JSON object belongs: {again}.")
    return value


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    number, flag = "a number", "true or false"
    kinds = {dict: "an object", list: "a list", str: "a text", bool: flag, int: number, float: number}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _fault(path: Path, number: int) -> str:
    if number == errno.ELOOP:
        return "is a link that leads round in a circle: make it again, or fetch the file again."
    if number in (errno.EACCES, errno.EPERM):
        return "may not be opened: change its permissions (and those of its folder), or run as a user who may."
    if number == errno.ENAMETOOLONG:
        return "is longer than any path may be: check the path."
    if number == errno.EISDIR or os.path.isdir(path):
        return "is a folder where a file is needed: name the file, or put it in its place."
    if os.path.islink(path) and not os.path.exists(path):
        return f"is a link to {os.readlink(path)}, which is not there: fetch the file again, or make the link again."
    if number == errno.ENOTDIR:
        return "cannot be there, since a part of its path is a file: check the path."
    return "does not exist: check the path."
