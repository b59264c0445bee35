"""Where results will be written, tried before the work: what the disk would refuse at the end it refuses now.

A trial does what the end will do, with an empty folder or a file of one byte, and takes it away again.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from models.errors import RequestError
from models.storage.disk import WriteFailed, explained
from models.storage.files import real_path, refuse_existing

LONGEST_NAME = "model-00001-of-00001.safetensors.index.json"  # of the files that such a folder holds


def try_folder(path: Path | str) -> None:
    """Makes sure that `models.storage.files.new_folder(path)` will work: that a new folder can be filled and take that name.

    Raises RequestError, with the reason and the remedy, if it cannot or the name is taken. Nothing stays of the trial.
    Of several processes that will write the same folder one alone may try it.
    """
    refuse_existing(path)
    place = real_path(path)
    with _tried(path), _folders(place.parent):
        spare = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".tmp-folder", dir=place.parent))
        try:
            (spare / LONGEST_NAME).write_bytes(b"\0")
            (spare / LONGEST_NAME).unlink()
            _rename(spare, place)
        finally:
            shutil.rmtree(spare, ignore_errors=True)


def try_files(folder: Path | str, *names: str) -> None:
    """Makes sure that `models.storage.files.new_file` can write files of these names into a folder, new or with others in it.

    Raises RequestError as `try_folder` does. Nothing stays of the trial, and files of these names are left alone.
    """
    place = real_path(folder)
    with _tried(folder), _folders(place):
        for name in names or (LONGEST_NAME,):
            handle, written = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp-file", dir=place)
            try:
                os.write(handle, b"\0")
                os.replace(written, f"{written}2")
            finally:
                os.close(handle)
                for left in (written, f"{written}2"):
                    Path(left).unlink(missing_ok=True)


@contextlib.contextmanager
def _tried(path: Path | str) -> Iterator[None]:
    try:
        with explained(path):
            yield
    except WriteFailed as error:
        raise RequestError(f"{path} cannot be written: {error.reason} Nothing was done.") from error


@contextlib.contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """The folder, with what is missing around it, for as long as it is tried."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in missing:
            with contextlib.suppress(OSError):  # another process has begun to fill it
                each.rmdir()


def _rename(spare: Path, place: Path) -> None:
    """Renames a spare folder to `place` and removes it; an empty folder that is there is moved away and back instead."""
    if not place.is_dir():
        os.rename(spare, place)
        place.rmdir()
        return
    spare.rmdir()
    try:
        os.rename(place, spare)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A container's own folders do not move, but they can be replaced by new ones.
        mode = place.stat().st_mode
        place.rmdir()
        place.mkdir()
        place.chmod(mode)
    else:
        os.rename(spare, place)
