"""Products of vectors and matrices with packed weights, against torch's bf16 linear and our own dense layouts.

    python benchmarks/packed_products.py [--rows 1 2 4 8 16 64 256 512] [--sparsities 0.5 0.7 0.9] [--shapes 8192x2048 ...]
                                         [--turns 15] [--threads 2] [--kernels avx512|avx2|plain] [--out FILE]

The matrices are those of Llama-3.2-1B, random, with random zeros, all in huge pages where the system has them, as packed
models are; torch's once more in ordinary ones, as models of transformers are. Every contender has copies of its matrix that together
are far larger than the last cache, and a turn goes through all of them once, as a forward pass goes through layers: each
weight comes from memory. The contenders take turns; ratios are of medians with bootstrap intervals, and their geometric
mean is over the shapes. The bound is bytes over the rate at which this machine reads memory, measured in the same turns.
Stores benchmarks/results/packed_products/results.json.
"""

import argparse
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from models.storage.files import write_json
from pruning.packing.format import Format
from pruning.packing.kernels import kernels
from pruning.packing.kernels.library import use
from pruning.packing.linear import PackedLinear
from pruning.packing.pages import use_huge_pages
from pruning.packing.storage import encode

OUT = Path(__file__).parent / "results" / "packed_products" / "results.json"
SHAPES = ("8192x2048", "2048x8192", "2048x2048")  # outputs by inputs
COLD = 192 << 20  # bytes that a contender's copies take at least
TORCH, DENSE, ORDINARY = "torch bf16", "dense", "torch bf16, ordinary pages"
Call = Callable[[torch.Tensor], torch.Tensor]


def contenders(rows: int, columns: int, sparsities: list[float]) -> dict[str, tuple[list[Call], int]]:
    """By name: the copies to call, and the bytes of one of them."""
    weight = torch.randn(rows, columns)
    keep = torch.rand(rows, columns)
    formats = {DENSE: (0.0, "dense"), "dense int8": (0.0, "dense:int8")}
    for sparsity in sparsities:
        formats[f"packed {sparsity:g}"] = (sparsity, "bitmask")
        formats[f"packed int8 {sparsity:g}"] = (sparsity, "bitmask:int8")
    dense = weight.to(torch.bfloat16)
    held = {TORCH: copies(dense), ORDINARY: copies(dense)}
    use_huge_pages(held[TORCH])
    found = {name: ([torch_linear(copy) for copy in each], dense.nbytes) for name, each in held.items()}
    for name, (sparsity, format) in formats.items():
        sparse = torch.where(keep >= sparsity, weight, 0).to(torch.bfloat16)
        layer = PackedLinear(encode(sparse, Format.parse(format)))
        size = layer.storage.bytes
        layers = [layer, *(deepcopy(layer) for _ in range(COLD // size))]
        use_huge_pages(tensor for each in layers for tensor in (*each.parameters(), *each.buffers()))
        found[name] = (layers, size)
    return found


def copies(weight: torch.Tensor) -> list[torch.Tensor]:
    """As many copies as are cold."""
    return [weight.clone() for _ in range(1 + COLD // weight.nbytes)]


def torch_linear(weight: torch.Tensor) -> Call:
    """torch's own product."""
    return lambda x: functional.linear(x, weight)


@torch.no_grad()
def take_turns(calls: dict[str, tuple[list[Call], int]], x: torch.Tensor, turns: int) -> dict[str, dict]:
    """Seconds of one product of every contender, turn by turn, and bytes read in a second."""
    reading = torch.arange(COLD // 8)
    use_huge_pages([reading])
    seconds: dict[str, list[float]] = {name: [] for name in calls} | {"reading": []}
    for turn in range(-1, turns):
        for name, (layers, _) in calls.items():
            began = time.perf_counter()
            for layer in layers:
                layer(x)
            passed = (time.perf_counter() - began) / len(layers)
            if turn >= 0:
                seconds[name].append(passed)
        began = time.perf_counter()
        kernels().read(reading)
        if turn >= 0:
            seconds["reading"].append(time.perf_counter() - began)
    rate = reading.nbytes / statistics.median(np.array(seconds.pop("reading"))).value
    found = {}
    for name, runs in seconds.items():
        median, size = statistics.median(np.array(runs)), calls[name][1]
        found[name] = {
            "median": median.value, "interval": median.interval, "unit": "s", "bytes": size, "runs": runs,
            "bound": size / rate, "share_of_bound": size / rate / median.value,
        }  # fmt: skip
        for other in (TORCH, DENSE):
            ratio = statistics.ratio_of_medians(np.array(seconds[other]), np.array(runs))
            found[name][f"times {other}"] = {"value": ratio.value, "interval": ratio.interval}
    return found | {"reading": {"bytes_per_second": rate}}


def geometric_means(shapes: dict[str, dict]) -> dict[str, dict[str, float]]:
    """Over the shapes, of each contender's ratios."""
    results = list(shapes.values())
    names = [name for name in results[0] if name != "reading"]
    return {
        name: {
            other: prod(result[name][f"times {other}"]["value"] for result in results) ** (1 / len(results))
            for other in (TORCH, DENSE)
        }
        for name in names
    }


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64, 256, 512], help="of inputs")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kernels", default="", help="at most these (default: the best)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    used = use(options.kernels)
    results: dict[str, dict] = {}
    for shape in options.shapes:
        rows, columns = map(int, shape.split("x"))
        one = contenders(rows, columns, options.sparsities)
        for count in options.rows:
            calls = one if count < 16 else {name: call for name, call in one.items() if name != "dense int8"}
            x = torch.randn(count, columns).to(torch.bfloat16)
            turns = options.turns if count < 64 else max(3, options.turns // 3)
            results.setdefault(str(count), {})[shape] = take_turns(calls, x, turns)
    means = {count: geometric_means(shapes) for count, shapes in results.items()}
    for count, by_name in means.items():
        rate = np.mean([shape["reading"]["bytes_per_second"] for shape in results[count].values()])
        print(f"{count} rows of inputs, kernels {used}, {rate / 1e9:.1f} GB/s read")
        for name, ratios in by_name.items():
            each = "  ".join(
                f"{shape} {found[name]['median'] * 1e6:7.0f} us ({found[name]['share_of_bound']:.2f})"
                for shape, found in results[count].items()
            )
            print(f"  {name:16} {ratios[TORCH]:5.2f} x torch  {ratios[DENSE]:5.2f} x dense   {each}", flush=True)
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {"kernels": used, "threads": options.threads, "turns": options.turns, "cold_bytes": COLD},
        "results": results,
        "geometric_means": means,
    }
    write_json(options.out, document)


if __name__ == "__main__":
    main()
