"""Where the hidden states of the calibration batches wait between two blocks: in main memory or in files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file


class Activations(Protocol):
    """The hidden state [B, T, hidden] of each batch by its number, on the CPU."""

    def __getitem__(self, number: int) -> torch.Tensor: ...

    def __setitem__(self, number: int, hidden: torch.Tensor) -> None: ...

    def __iter__(self) -> Iterator[torch.Tensor]: ...

    def close(self) -> None:
        """Lets go of everything."""


class InMemory:
    """Main memory."""

    def __init__(self) -> None:
        self._states: dict[int, torch.Tensor] = {}

    def __getitem__(self, number: int) -> torch.Tensor:
        return self._states[number]

    def __setitem__(self, number: int, hidden: torch.Tensor) -> None:
        self._states[number] = hidden.to("cpu")

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._states.values())

    def close(self) -> None:
        """Nothing: the states are read after the walk, and go with it."""


class OnDisk:
    """One file a batch in a folder of its own inside `place`, which `close` removes.

    The numbers are those that were given, bit for bit.
    """

    def __init__(self, place: Path):
        place.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="activations.", dir=place))
        self._count = 0

    def __getitem__(self, number: int) -> torch.Tensor:
        return load_file(self._file(number))["hidden"]

    def __setitem__(self, number: int, hidden: torch.Tensor) -> None:
        save_file({"hidden": hidden.to("cpu").contiguous()}, self._file(number))
        self._count = max(self._count, number + 1)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[number] for number in range(self._count))

    def close(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self._folder / f"batch-{number}.safetensors"
