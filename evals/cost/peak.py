"""What the present process has held in memory: marks that `evals.cost.runner`, a fresh process for each model, reads.

Resident memory is read from `VmHWM` of /proc/self/status, the high-water mark of this program alone: `ru_maxrss`,
used where there is no such file, begins on Linux at the mark of the process that started this one.
"""

import sys
from pathlib import Path


def high_water_mark() -> tuple[int, str]:
    """The most resident memory that this process has held, in bytes, and where the figure is from."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024, "VmHWM"
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset, "peak working set"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "ru_maxrss"


def private_memory() -> tuple[int | None, int | None]:
    """USS and PSS of this process now, in bytes; None where the system does not tell.

    USS is what would come free if it ended; PSS is that and its share of the pages that it shares with others. The
    files of the weights, mapped into memory, count as resident while the system lends their pages; not as USS.
    """
    import psutil

    try:
        found = psutil.Process().memory_full_info()
    except psutil.Error:
        return None, None
    return getattr(found, "uss", None), getattr(found, "pss", None)


def marks() -> dict:
    """All marks of this process as JSON types, in bytes: peaks so far, private memory as it is now."""
    import torch

    from evals.cost.gpu import process_vram

    resident, source = high_water_mark()
    uss, pss = private_memory()
    found = {"resident": resident, "source": source, "uss": uss, "pss": pss}
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    vram, vram_source = (process_vram() if cuda else None) or (None, None)
    return found | {
        "cuda_allocated": torch.cuda.max_memory_allocated() if cuda else None,
        "cuda_reserved": torch.cuda.max_memory_reserved() if cuda else None,
        "vram": vram,
        "vram_source": vram_source,
    }
