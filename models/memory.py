"""Memory: how much is free, how much a model will take, and the refusal of what cannot fit."""

from pathlib import Path

import torch
from torch import nn

from models.console.units import format_bytes
from models.errors import RequestError

OVERHEAD = 1.1  # activations and the key-value cache of ordinary use, as a share of the weights
BASE = 128 << 20  # and what the libraries allocate around any model


class OutOfMemory(RequestError):
    """What was asked for cannot fit; the text has the figures and what to change."""


def available_bytes(device: torch.device) -> int:
    """Bytes free on a device: on the CPU the smaller of the machine's and the control group's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    free = psutil.virtual_memory().available
    limit, used = (_read_int(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None:
        free = min(free, limit - used + _inactive_file_bytes())
    return max(free, 0)


def require(weight_bytes: int, device: torch.device, what: str) -> None:
    """Raises OutOfMemory, with the figures, if `weight_bytes` of weights and their overhead do not fit."""
    needed = weight_bytes * OVERHEAD + BASE
    free = available_bytes(device)
    if needed > free:
        raise OutOfMemory(
            f"{what} needs about {format_bytes(needed)} of memory and {format_bytes(free)} is free on {device.type}: "
            "choose a smaller model or --dtype bfloat16, or close other programs."
        )


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared storage (tied weights) counted once, and what layers tell beside."""
    storages = {}
    for tensor in (*model.parameters(), *model.buffers()):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values()) + sum(getattr(module, "unlisted_bytes", 0) for module in model.modules())


def parameter_count(model: nn.Module) -> int:
    """How many parameters a model has, tied ones once; those that a packed layer does not store count as well."""
    stored = sum(parameter.numel() for parameter in model.parameters())
    return stored + sum(getattr(module, "unstored", 0) for module in model.modules())


def _read_int(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _inactive_file_bytes() -> int:
    # The page cache counts as used in a control group but is given back on demand.
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
