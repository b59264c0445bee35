"""Memory: what a model's weights take, what they would take packed, and the peak of a process that uses it.

Bytes are bytes. In memory: all parameters and buffers, a storage shared by tied weights once. On disk: the
safetensors files. If packed: what the parameters would take in a bitmask format (`evals.cost.sparse_storage`), tensor by
tensor where that is smaller; no file or process takes that little until the model is packed, so it is a forecast and
is named so. The peak is taken in a fresh process for each model, because a process's high-water mark never falls.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from evals.cost.measuring_process import Heartbeat, MeasuringProcess
from evals.cost.sparse_storage import bitmask_bytes
from models.console.progress import Progress, silent
from models.console.units import format_bytes, format_percent
from models.counting import count_nonzero
from models.memory import parameter_bytes, parameter_count
from models.storage.weights import weight_files

PROMPT_TOKENS, NEW_TOKENS = 64, 32  # of the generation that a peak is taken of


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

    `libraries` is what the process held before the model was loaded; `source` says where the resident figure was
    read. `uss` and `pss` are the process's private memory and its share of the rest, after the generation (None where
    the system does not tell). `cuda_allocated` and `cuda_reserved` are of torch's allocator, `vram` is all that the
    driver counts for the process (None on the CPU; `vram` also where the driver does not tell).
    """

    resident: int
    libraries: int
    source: str
    uss: int | None
    pss: int | None
    cuda_allocated: int | None
    cuda_reserved: int | None
    vram: int | None
    vram_source: str | None


@torch.inference_mode()
def measure(model: nn.Module, folder: Path | str | None = None) -> Footprint:
    """The footprint of a model in memory and, where its folder is given, on disk. Tied weights count once."""
    packed = [module for module in model.modules() if getattr(module, "words", None) is not None]
    counted = [module for module in model.modules() if "kept" in vars(module)]  # whose bits cannot be read as numbers
    inside = {id(module.values) for module in packed}  # what is stored of them is all that is not zero
    inside |= {id(module.weight) for module in counted}
    parameters = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    in_memory = parameter_bytes(model)
    counts = [(p.numel(), count_nonzero(p), p.element_size()) for p in parameters]
    saved = sum(max(0, total * size - bitmask_bytes(total, kept, size)) for total, kept, size in counts)
    return Footprint(
        parameters=parameter_count(model),
        nonzero_parameters=sum(kept for _, kept, _ in counts) + sum(module.kept for module in (*packed, *counted)),
        bytes_in_memory=in_memory,
        bytes_if_packed=in_memory - saved,
        bytes_on_disk=disk_bytes(folder) if folder is not None else None,
    )


def disk_bytes(folder: Path | str) -> int:
    """Bytes of the safetensors files of a model folder."""
    return sum(file.stat().st_size for file in weight_files(Path(folder), str(folder)))


def peak(model: str, device: str = "auto", dtype: str = "auto", progress: Progress | None = None) -> Peak:
    """Loads MODEL in a fresh process, generates, and returns the most memory that the process took.

    Raises EspalierError with the process's own line if it failed. A progress callback that raises ends the process.
    """
    beat = Heartbeat(progress or silent)
    beat(0.0, f"{model}: peak memory, in a process of its own")
    with MeasuringProcess(model, device, dtype, beat.again) as process:
        process.load()
        return take_peak(process)


def take_peak(process: MeasuringProcess) -> Peak:
    """Has a process that has just loaded its model generate, and reads its marks."""
    process.time(1, *peak_lengths(process.facts["context"]))
    return Peak(libraries=process.facts["libraries"], **process.ask("marks"))


def peak_lengths(context: int) -> tuple[int, int]:
    """Prompt tokens and new tokens of the generation that a peak is taken of, in a context of so many tokens."""
    new_tokens = max(1, min(NEW_TOKENS, context // 2))
    return max(1, min(PROMPT_TOKENS, context - new_tokens)), new_tokens


def zeros_note(name: str, footprint: Footprint) -> str | None:
    """A sentence for the reader where a model holds zeros that save nothing; None where it holds hardly any."""
    zeros = 1 - footprint.nonzero_parameters / footprint.parameters
    if zeros < 0.01 or footprint.bytes_if_packed > 0.99 * footprint.bytes_in_memory:  # none, or packed already
        return None
    return (
        f"{name}: {format_percent(zeros)} of its parameters are zeros, stored densely, which save neither memory nor "
        "time as they are; packed as a bitmask the weights would take "
        f"{format_bytes(footprint.bytes_if_packed)}."
    )
