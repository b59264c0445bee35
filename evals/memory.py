"""Memory: what a model's weights take, what they would take packed, and the peak of a process that uses it.

Bytes are bytes. In memory: all parameters and buffers, a storage shared by tied weights once. On disk: the
safetensors files. If packed: what the parameters would take in a bitmask format (one bit for every weight and the
values of the non-zero ones), tensor by tensor where that is smaller; no file or process takes that little until the
model is packed, so it is a forecast and is named so. The peak is taken in a fresh process for each model, because a
process's high-water mark never falls (`evals.peak` is that process).
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import nn

from models.errors import EspalierError
from models.memory import parameter_bytes
from models.progress import Progress, silent
from models.weights import weight_files

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Footprint:
    """A model's weights in figures: counts, and bytes in memory, packed (a forecast) and on disk (None if unsaved)."""

    parameters: int
    nonzero_parameters: int
    bytes_in_memory: int
    bytes_if_packed: int
    bytes_on_disk: int | None


@dataclass(frozen=True)
class Peak:
    """The most memory that a fresh process took to load a model and generate with it, in bytes.

    `libraries` is what the process held before the model was loaded; `cuda_allocated` and `cuda_reserved` are of
    torch's allocator (None on the CPU); `source` says where the resident figure was read.
    """

    resident: int
    libraries: int
    cuda_allocated: int | None
    cuda_reserved: int | None
    source: str


@torch.inference_mode()
def measure(model: nn.Module, folder: Path | str | None = None) -> Footprint:
    """The footprint of a model in memory and, where its folder is given, on disk. Tied weights count once."""
    parameters = list(model.parameters())
    in_memory = parameter_bytes(model)
    counts = [(p.numel(), int(torch.count_nonzero(p)), p.element_size()) for p in parameters]
    saved = sum(max(0, total * size - packed_bytes(total, kept, size)) for total, kept, size in counts)
    return Footprint(
        parameters=sum(total for total, _, _ in counts),
        nonzero_parameters=sum(kept for _, kept, _ in counts),
        bytes_in_memory=in_memory,
        bytes_if_packed=in_memory - saved,
        bytes_on_disk=disk_bytes(folder) if folder is not None else None,
    )


def packed_bytes(elements: int, nonzero: int, item_bytes: int) -> int:
    """Bytes of a tensor as a bitmask: one bit for every element, and the non-zero values."""
    return ceil(elements / 8) + nonzero * item_bytes


def disk_bytes(folder: Path | str) -> int:
    """Bytes of the safetensors files of a model folder."""
    return sum(file.stat().st_size for file in weight_files(Path(folder), str(folder)))


def peak(model: str, device: str = "auto", dtype: str = "auto", progress: Progress | None = None) -> Peak:
    """Loads MODEL in a fresh process, generates, and returns the most memory that the process took.

    Raises EspalierError with the process's own line if it failed. A progress callback that raises ends the process.
    """
    report = progress or silent
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-m", "evals.peak", model, device, dtype],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            try:
                output, errors = child.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                report(0.0, f"{model}: peak memory, in a process of its own")
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode:
        reason = (errors.strip().splitlines() or [f"it ended with code {child.returncode}, often lack of memory"])[-1]
        raise EspalierError(f"The peak memory of {model} could not be measured: {reason.removeprefix('error: ')}")
    return Peak(**json.loads(output.splitlines()[-1]))
