"""Where a number was taken: hardware, clocks, threads, load and library versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
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
        "clocks": clocks(),
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


def processor(device: "torch.device") -> str:
    """The name of what computes: the GPU, or the machine's processor."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


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


def clocks() -> dict:
    """How fast the processors run now: the CPU's governor and MHz, the GPU's MHz; only what the system tells."""
    import psutil

    from evals.cost.gpu import clock_mhz

    try:
        governor = GOVERNOR.read_text(encoding="utf-8").strip()
    except OSError:
        governor = None
    try:
        frequency = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError, RuntimeError):
        frequency = None
    found = {"governor": governor, "cpu_mhz": round(frequency.current) if frequency else None, "gpu_mhz": clock_mhz()}
    return {name: value for name, value in found.items() if value}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
