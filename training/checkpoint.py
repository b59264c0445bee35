"""Checkpoints: the whole state of a training run in one file, written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # the error alone: nothing is unpickled here

import torch
from torch import nn

from models.console.differences import differences
from models.errors import Cancelled, EspalierError, RequestError, reason
from models.storage.destination import try_files, try_folder
from models.storage.disk import full
from models.storage.files import new_file, real_path


def save_checkpoint(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict, options: dict
) -> None:
    """Saves weights, optimizers, where the run stands (`state`) and all that it depends on (`options`, JSON types)."""
    content = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "state": state,
        "options": options,
    }
    with new_file(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], options: dict) -> dict:
    """Puts the saved weights and optimizers in place and returns the saved state.

    Raises RequestError if the file is no checkpoint, or one of a run with other options or data.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        others = differences(content["options"], options)
    except (RuntimeError, EOFError, KeyError, TypeError, AttributeError, UnpicklingError):
        raise RequestError(f"{path} is not a checkpoint of this program: remove it to begin anew.") from None
    if others:
        raise RequestError(
            f"{path} is the checkpoint of a run with other options or data ({others}): remove it, or use the same ones."
        )
    model.load_state_dict(content["model"])
    for optimizer, saved in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return content["state"]


def checkpoint_of(out: Path) -> Path:
    """Where a run that will write `out` keeps its state."""
    place = real_path(out)
    return place.with_name(f"{place.name}.checkpoint")


def try_out(out: Path) -> None:
    """RequestError unless a run can write `out`, and its state beside it. Of several processes the first tries it."""
    if os.environ.get("RANK", "0") != "0":
        return
    try_folder(out)
    checkpoint = checkpoint_of(out)
    try_files(checkpoint.parent, checkpoint.name)


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """Names what is kept at `path`, a file or a folder, of work that failed or was interrupted."""
    try:
        yield
    except (RequestError, Cancelled):
        raise
    except (KeyboardInterrupt, Exception) as error:
        if not path.exists():
            raise
        told = full(error) or error
        raise EspalierError(f"{reason(told)} What is done is kept in {path}: the same command goes on.") from error
