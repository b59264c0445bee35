"""Where a number was taken: hardware, threads, load and library versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "accelerate", "numpy")


def environment() -> dict:
    """The machine and the libraries, as JSON types; bytes are bytes, load is of the last minute."""
    import psutil
    import torch

    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "threads": threads(),
        "load_average": load_average(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def cpu_model() -> str:
    """The processor's name as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def threads() -> int:
    """The threads that torch computes one operation with."""
    import torch

    return torch.get_num_threads()


def load_average() -> float | None:
    """Processes that ran or waited to run, averaged over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
