"""Perplexity by the `gptq` protocol: ours against the loop that published pruning code takes it with.

    python benchmarks/perplexity_speed.py [--model embedded] [--data embedded] [--lengths 2048 512 128] [--windows 24]
                                          [--repeats 7] [--device auto] [--dtype float32] [--threads N] [--out FILE]

The loop is that of GPTQ, SparseGPT and Wanda, written after their description: one window after another through the
model, all of a window's logits but the last to the cross-entropy in fp32 (which transformers made of them while that
code was written), the means weighed by the window's length.
Both read the same windows of the same ids with the same loaded model, take turns, and each turn is a whole text; a
turn of each that does not count comes first. Both perplexities are stored: they must agree within rounding. Lengths
beyond the model's context are left out. Stores benchmarks/results/perplexity_speed/results.json.
"""

import argparse
import sys
import time
from collections.abc import Callable
from math import exp
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import protocols, statistics
from evals.environment import environment
from evals.protocols import Request
from evals.text_losses.data import load_text
from evals.text_losses.scoring import token_losses
from models import Loaded, load
from models.description import context_length
from models.storage.files import write_json

Way = Callable[[torch.nn.Module, torch.Tensor], float]
OUT = Path(__file__).parent / "results" / "perplexity_speed" / "results.json"


@torch.no_grad()
def published(model: torch.nn.Module, windows: torch.Tensor) -> float:
    """The textbook loop over windows of ids [n, L]."""
    count, length = windows.shape
    measure = torch.nn.CrossEntropyLoss()
    weighed = []
    for window in windows:
        ids = window[None].to(model.device)
        logits = model(ids, use_cache=False).logits
        before, after = logits[:, :-1, :].float().contiguous(), ids[:, 1:]
        weighed.append(measure(before.reshape(-1, before.shape[-1]), after.reshape(-1)) * length)
    return float(torch.exp(torch.stack(weighed).sum() / (count * length)))


def ours(model: torch.nn.Module, windows: torch.Tensor) -> float:
    """Our scoring loop over the same windows."""
    return exp(token_losses(model, windows).astype(np.float64).mean())


def interleaved(ways: dict[str, Way], loaded: Loaded, windows: torch.Tensor, repeats: int) -> dict:
    """Seconds of every way in turns, and the first one's time over each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, float] = {}
    for turn in range(-1, repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            values[name] = way(loaded.model, windows)  # reads a number off the device, and so waits for it
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    first = np.array(next(iter(seconds.values())))
    found = {}
    for name, runs in seconds.items():
        median, ratio = statistics.median(np.array(runs)), statistics.ratio_of_medians(first, np.array(runs))
        found[name] = {
            "perplexity": values[name], "median": median.value, "interval": median.interval, "runs": runs, "unit": "s",
            "first_over_this": ratio.value, "first_over_this_interval": ratio.interval,
        }  # fmt: skip
    return found


def measure(loaded: Loaded, options: argparse.Namespace) -> dict[str, dict]:
    """The two loops at each window length that the model can read."""
    text, context = load_text(options.data), context_length(loaded.model.config.get_text_config())
    results = {}
    for length in [length for length in options.lengths if length <= context] or [context]:
        request = Request(context, length, most=options.windows)
        windows = torch.from_numpy(np.stack(protocols.find("gptq").cut(loaded.tokenizer, text, request).ids))
        found = interleaved({"published loop": published, "ours": ours}, loaded, windows, options.repeats)
        results[str(length)] = {"windows": len(windows), "length": windows.shape[1], **found}
        ratio, (low, high) = found["ours"]["first_over_this"], found["ours"]["first_over_this_interval"]
        values = " and ".join(f"{found[name]['perplexity']:.6f}" for name in ("published loop", "ours"))
        print(f"L = {length:5}: {ratio:.3f} times as fast ({low:.3f} to {high:.3f}), perplexity {values}", flush=True)
    return results


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 512, 128], metavar="L")
    parser.add_argument("--windows", type=int, default=24, help="windows of a turn, at most")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each loop")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", help="default: %(default)s; half floats round by batch")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    loaded = load(options.model, options.device, options.dtype)
    facts = {"model": loaded.description.as_dict(), "data": options.data, "repeats": options.repeats}
    document = {
        "schema_version": 1,
        "command": " ".join(sys.argv),
        "environment": environment(),
        "protocol": facts,
        "results": measure(loaded, options),
    }
    write_json(options.out, document)


if __name__ == "__main__":
    main()
