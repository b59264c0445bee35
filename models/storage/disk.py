"""What the disk says when something cannot be written: its reason, whatever library told it, and the remedy that fits."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import EspalierError

FULL = "Free some space on that disk, or choose a folder on another one."
WRITABLE = "You may not write there: change the permissions of {folder}, or choose a folder of your own."
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: "Your quota on that disk is used up: remove files of yours, or choose a folder on another disk.",
    errno.EFBIG: "A file may not be that large there: raise the limit (ulimit -f), or choose a folder on another disk.",
    errno.EACCES: WRITABLE,
    errno.EPERM: WRITABLE,
    errno.EROFS: "That disk can only be read: choose a folder on another one.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EINVAL: "That disk takes no such name: choose another.",
    errno.EILSEQ: "That disk takes no such name: choose another.",
    errno.ENOTDIR: "{standing} is a file: choose another folder.",
    errno.EEXIST: "{standing} is a file: choose another folder.",
    errno.EISDIR: "It is a folder: choose another name.",
    errno.ENOTEMPTY: "Something else has been put there: choose another folder.",
    errno.ENOENT: "The folder around it is gone: make it again, or choose another.",
    errno.ELOOP: "Its links lead round in a circle: name the folder itself.",
    errno.EBUSY: "It is in use, or another disk is mounted there: choose a new folder inside it.",
    errno.EXDEV: "It lies on another disk than the folder around it: choose a new folder inside it.",
    errno.EIO: "The disk fails: check it, and choose a folder on another one.",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n), and try again.",
    errno.ENFILE: "Too many files are open: close other programs, and try again.",
    errno.ENOMEM: "There is too little memory: close other programs, and try again.",
    errno.ESTALE: "The connection to that disk was lost: mount it again, or choose a folder on another one.",
}
OTHERWISE = "Choose another folder."
# How libraries in Rust (safetensors, tokenizers) and Python write the system's number.
NUMBERED = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
# What others say in its place. SQLite and torch often do not tell which of the reasons it was: 0, to be found out.
SAID = {
    "database or disk is full": errno.ENOSPC,
    "disk I/O error": 0,
    "readonly database": errno.EACCES,
    "unable to open database file": 0,
    "PytorchStreamWriter failed": 0,
    "enforce fail at inline_container": 0,
    "iostream error": 0,
    " requested and ": 0,  # numpy: "4096 requested and 0 written"
} | {os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)}
PROBE_BYTES = 1 << 20


class WriteFailed(EspalierError):
    """Something could not be written: `reason` says why and what to do, in two sentences."""

    def __init__(self, path: Path | str, reason: str):
        super().__init__(f"Could not write {path}: {reason}")
        self.reason = reason


def explain(error: BaseException, path: Path | str) -> str | None:
    """Why the disk refused to write `path`, and the remedy, in two sentences; None if the error is about other things.

    Looks through what libraries raise in place of an OSError. Where they do not tell the reason, it is found by writing
    a little beside `path`.
    """
    if isinstance(error, WriteFailed):
        return error.reason
    number = _number(error, Path(path))
    if number is None:
        return None
    number = number or _probe(Path(path))
    return f"{os.strerror(number)}. {remedy(number, path)}" if number else f"The disk took only a part of it. {FULL}"


def full(error: BaseException) -> WriteFailed | None:
    """The line for an error that says that a disk took no more, whatever was written there; None for other errors."""
    number = _number(error)
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return None
    path = getattr(error, "filename", None)
    return WriteFailed(path or "the output", f"{os.strerror(number)}. {remedy(number, path or os.curdir)}")


def remedy(number: int, path: Path | str) -> str:
    """What a person can do where the system answered with the error `number` (of `errno`) about `path`."""
    place = Path(os.path.abspath(path))
    around = (place, *place.parents)
    standing = next((each for each in around if os.path.lexists(each)), place)
    folder = next((each for each in around if os.path.isdir(each)), place)
    return REMEDIES.get(number, OTHERWISE).format(standing=standing, folder=folder)


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Raises WriteFailed, about `path`, where the disk refuses; other errors pass."""
    try:
        yield
    except Exception as error:
        reason = explain(error, path)
        if reason is None:
            raise
        raise WriteFailed(path, reason) from error


def _number(error: BaseException, path: Path | None = None) -> int | None:
    """The system's number for an error or for what it came from: 0 where only a failed write is sure, None if not even."""
    seen = None
    while error is not None and not isinstance(error, EspalierError):  # which is explained already
        if isinstance(error, OSError) and error.errno:
            return error.errno if _is_of_a_file(error) and _is_about(error.filename, path) else None
        if found := NUMBERED.search(str(error)):
            return int(found[1] or found[2])
        said = next((number for words, number in SAID.items() if words in str(error)), None)
        seen = said if seen is None else seen
        if seen:
            return seen
        # What was handled when it was raised is the same failed write only where this one is known to be about writing.
        error = error.__cause__ or (error.__context__ if seen is not None else None)
    return seen


def _is_of_a_file(error: OSError) -> bool:
    return not isinstance(error, ConnectionError | TimeoutError | ChildProcessError | ProcessLookupError)


def _is_about(name: object, path: Path | None) -> bool:
    """Whether the file of that name (None: unknown) is what is written at `path` (None: anywhere), or one around it."""
    if path is None or not isinstance(name, str | bytes | os.PathLike):
        return True
    file, place = Path(os.path.realpath(os.fsdecode(name))), Path(os.path.realpath(path))
    return file.is_relative_to(place.parent) or place.is_relative_to(file)


def _probe(path: Path) -> int | None:
    """The system's number for what is wrong with writing `path`; None if it may be, and a MiB can beside it."""
    if path.is_file() and not os.access(path, os.W_OK):
        return errno.EACCES
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp-file") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno
    return None
