"""Where the dense models' input norms wait: small files in the user's cache folder, whole or not believed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.storage.cache_folder import cache_folder
from models.storage.files import TEMPORARY, new_file

if TYPE_CHECKING:
    import torch

FORM = "1"  # of the files: another one is not read
MOST_BYTES = 64 << 20  # of all files together; those unused for longest go
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class InputNorms:
    """`column_norms` of the dense model's projections by name, fp64 [C] on the CPU, over so many calibration tokens."""

    norms: Mapping[str, torch.Tensor]
    tokens: int


def stored(key: str) -> InputNorms | None:
    """What was kept under `key`, None if nothing was; a damaged file is removed and counts as nothing."""
    from safetensors import SafetensorError, safe_open

    file = _file(key)
    try:
        with safe_open(file, framework="pt") as opened:
            told = opened.metadata() or {}
            norms = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if (told.get("form"), told.get("key"), told.get("digest")) != (FORM, key, _digest(norms)):
            raise ValueError("other contents than were written")
        found = InputNorms(norms, int(told["tokens"]))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError, KeyError):
        with contextlib.suppress(OSError):
            file.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the newest, now that it was used
    return found


def store(key: str, norms: InputNorms) -> None:
    """Keeps norms under `key`, atomically, and lets the oldest files go. WriteFailed if the disk takes none."""
    from safetensors.torch import save_file

    file = _file(key)
    metadata = {"form": FORM, "key": key, "tokens": str(norms.tokens), "digest": _digest(norms.norms)}
    with new_file(file) as temporary:
        save_file({name: value.contiguous() for name, value in norms.norms.items()}, temporary, metadata)
    _make_room(file.parent, spared=file)


def _file(key: str) -> Path:
    return cache_folder("statistics", f"{key}{SUFFIX}")


def _digest(norms: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(norms.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _make_room(folder: Path, spared: Path) -> None:
    """Removes the files that were unused for longest until the rest takes at most MOST_BYTES."""
    found = []
    for file in folder.glob(f"*{SUFFIX}"):
        if not file.match(TEMPORARY) and file != spared:
            with contextlib.suppress(OSError):  # another process may have removed it
                found.append((file.stat().st_mtime, file.stat().st_size, file))
    room = MOST_BYTES - spared.stat().st_size
    for _, size, file in sorted(found, reverse=True):
        room -= size
        if room < 0:
            with contextlib.suppress(OSError):
                file.unlink()
