"""The fresh process of a peak measurement: `python -m evals.peak MODEL DEVICE DTYPE` prints one line of JSON.

Resident memory is read from `VmHWM` of /proc/self/status, the high-water mark of this program alone: `ru_maxrss`,
used where there is no such file, begins on Linux at the mark of the process that started this one.
"""

import json
import sys
from pathlib import Path

from models.command import finish

PROMPT_TOKENS = 64
NEW_TOKENS = 32


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


def main() -> int:
    """Loads the model, generates NEW_TOKENS tokens after up to PROMPT_TOKENS, and prints the marks."""
    import torch

    from evals.texts import prose
    from models.decoding import Generation
    from models.loading import load
    from models.sampling import Sampling

    libraries, source = high_water_mark()
    name, device, dtype = sys.argv[1:]
    model, tokenizer, description = load(name, device, dtype)
    room = max(1, min(PROMPT_TOKENS, description.context - NEW_TOKENS))
    ids = tokenizer(prose()[: 20 * PROMPT_TOKENS], verbose=False)["input_ids"][:room]
    Generation(model, tokenizer, ids, Sampling(max_new_tokens=NEW_TOKENS, ignore_end=True)).run()
    cuda = description.device == "cuda"
    marks = {
        "resident": high_water_mark()[0],
        "libraries": libraries,
        "cuda_allocated": torch.cuda.max_memory_allocated() if cuda else None,
        "cuda_reserved": torch.cuda.max_memory_reserved() if cuda else None,
        "source": source,
    }
    print(json.dumps(marks))
    return 0


if __name__ == "__main__":
    sys.exit(finish(main))
