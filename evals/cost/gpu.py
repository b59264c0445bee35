"""What the driver tells of the GPU in use, through NVML (the package `nvidia-ml-py`); None where it tells nothing."""

import os
from typing import Any


def process_vram() -> tuple[int, str] | None:
    """Bytes of GPU memory that this process takes in all, the CUDA context included, and where the figure is from.

    In a container the driver may know the process by another number: then the only process on the card is taken to
    be this one, and the second value says so; with several the figure is not known.
    """
    return _asked(_process_vram)


def clock_mhz() -> int | None:
    """The clock of the GPU's multiprocessors now, in MHz."""
    return _asked(lambda nvml, card: int(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)))


def _process_vram(nvml: Any, card: Any) -> tuple[int, str] | None:
    processes = [process for process in nvml.nvmlDeviceGetComputeRunningProcesses(card) if process.usedGpuMemory]
    own = [process for process in processes if process.pid == os.getpid()]
    if own:
        return int(own[0].usedGpuMemory), "NVML"
    if len(processes) == 1:
        return int(processes[0].usedGpuMemory), "NVML, the only process on the card"
    return None


def _asked(question: Any) -> Any:
    import torch

    try:
        import pynvml as nvml
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    try:
        nvml.nvmlInit()
        try:
            # By its identity: the numbers of CUDA_VISIBLE_DEVICES are not the driver's.
            identity = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
            return question(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{identity}"))
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return None
