"""One token through one matrix on a GPU: our kernels on packed weights against torch's own product in bf16.

    python benchmarks/gpu_decode.py [--sparsities 0.5 0.7] [--inputs 1] [--repeats 50] [--plans] [--out FILE]

The matrices have the shapes of Llama 3.1 8B's projections, with random weights whose smallest are zero. Four ways take
turns: `torch` (F.linear), our kernel on every value (`dense`), on those that are kept (`bitmask`), and on those as
8-bit integers (`bitmask:int8`). Before each product a large buffer is written, so that the weights come from memory and
not from the second-level cache, and so that the processor is ahead: CUDA events then time the GPU alone, with what it
takes to begin one kernel. The share of the bandwidth is that of the bytes a product must read and write, against a copy
of 1 GiB within the GPU's memory. The largest difference from torch's outputs is stored too, as a share of the largest.

--plans tries other ways of sharing the work out for `bitmask` and tells the fastest; the results do not contain them.

Stores benchmarks/results/gpu_decode/results.json. Without a GPU or without Triton it ends with code 2.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import linear

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from models.storage.files import write_json
from pruning.packing.format import Format
from pruning.packing.linear import PackedLinear
from pruning.packing.storage import encode

OUT = Path(__file__).parent / "results" / "gpu_decode" / "results.json"
SHAPES = {"q, o": (4096, 4096), "gate, up": (14336, 4096), "down": (4096, 14336), "k, v": (1024, 4096)}
FORMATS = ("dense", "bitmask", "bitmask:int8")
WARMING = 3  # turns that do not count, the first of which compiles
FLUSHED = 512 * 2**20  # bytes: several times what any second-level cache holds
COPIED = 2**30
Ways = dict[str, Callable[[], torch.Tensor]]


def sparse_weight(rows: int, columns: int, sparsity: float) -> torch.Tensor:
    """A random bf16 weight [R, C] on the GPU, of which the smallest values are zero."""
    weight = torch.randn(rows, columns, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    smallest = weight.abs().flatten().kthvalue(max(1, round(sparsity * weight.numel()))).values
    return weight.where(weight.abs() > smallest, 0).bfloat16()


def in_turns(ways: Ways, repeats: int) -> dict[str, np.ndarray]:
    """Microseconds of every product by each way, in turns, with nothing of the weights in a cache."""
    buffer = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda")
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-WARMING, repeats):
        events = {name: [torch.cuda.Event(enable_timing=True) for _ in range(2)] for name in ways}
        for name, way in ways.items():
            buffer.fill_(turn & 1)
            events[name][0].record()
            way()
            events[name][1].record()
        torch.cuda.synchronize()
        for name, (begin, end) in events.items():
            if turn >= 0:
                found[name].append(1000 * begin.elapsed_time(end))
    return {name: np.array(runs) for name, runs in found.items()}


def bandwidth() -> float:
    """Bytes a second that a large copy reads and writes: the median of 20."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda").zero_()
    target = torch.empty_like(source)
    runs = in_turns({"copy": lambda: target.copy_(source)}, 20)["copy"]
    return 2 * COPIED / (float(np.median(runs)) / 1e6)


def measure(rows: int, columns: int, sparsity: float, options: argparse.Namespace, fastest: float) -> dict[str, dict]:
    """Every way on one matrix: times, the first one's time over each, and the share of the bandwidth."""
    from pruning.packing.kernels.triton_decode import multiply

    weight = sparse_weight(rows, columns, sparsity)
    x = torch.randn(options.inputs, columns, device="cuda").bfloat16()
    layers = {name: PackedLinear(encode(weight, Format.parse(name))).to("cuda") for name in FORMATS}
    ways: Ways = {"torch": lambda: linear(x, weight)}
    ways |= {name: lambda layer=layer: multiply(layer, x) for name, layer in layers.items()}
    sizes = {"torch": weight.nbytes}
    sizes |= {
        name: layer.storage.bytes + (0 if layer.starts is None else layer.starts.nbytes)
        for name, layer in layers.items()
    }
    outputs = {name: way().float() for name, way in ways.items()}
    results = {}
    runs = in_turns(ways, options.repeats)
    for name, times in runs.items():
        median, ratio = statistics.median(times), statistics.ratio_of_medians(runs["torch"], times)
        read = sizes[name] + x.nbytes + rows * options.inputs * 2
        difference = (outputs[name] - outputs["torch"]).abs().max() / outputs["torch"].abs().max()
        results[name] = {
            "median": median.value, "interval": median.interval, "runs": times.tolist(), "unit": "us",
            "torch_over_this": ratio.value, "torch_over_this_interval": ratio.interval, "bytes": read,
            "share_of_bandwidth": read / (median.value / 1e6) / fastest, "largest_difference": float(difference),
        }  # fmt: skip
    if options.plans:
        tell_plans(layers["bitmask"], x)
    return results


def tell_plans(layer: PackedLinear, x: torch.Tensor) -> None:
    """Times other plans for the layer's product and prints the five fastest, and ours."""
    from pruning.packing.kernels.triton_decode import Plan, multiply, plan

    processors = torch.cuda.get_device_properties(0).multi_processor_count
    own = plan(layer.out_features, layer.in_features, len(x), True, processors)
    plans = {own} | {
        Plan(rows, words, warps)
        for rows, words, warps in itertools.product((2, 4, 8, 16), (16, 32, 64), (2, 4, 8))
        if 8 <= rows * words // warps <= 64
    }
    runs = in_turns({str(how): lambda how=how: multiply(layer, x, how) for how in plans}, 20)
    ranked = sorted((float(np.median(times)), name) for name, times in runs.items())
    for median, name in ranked[:5] + [(float(np.median(runs[str(own)])), f"{own}, which is taken")]:
        print(f"    {median:7.2f} us  {name}", flush=True)


def tell(shape: str, sparsity: float, found: dict[str, dict]) -> None:
    """Prints the table of one matrix."""
    print(f"{shape}, {sparsity:.0%} zeros")
    for name, result in found.items():
        low, high = result["torch_over_this_interval"]
        print(
            f"    {name:13} {result['median']:8.2f} us ({result['interval'][0]:.2f} to {result['interval'][1]:.2f})"
            f"   {result['torch_over_this']:.2f} times as fast as torch ({low:.2f} to {high:.2f})"
            f"   {result['share_of_bandwidth']:.0%} of the bandwidth",
            flush=True,
        )


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.7], metavar="S")
    parser.add_argument("--inputs", type=int, default=1, choices=range(1, 9), help="rows of inputs (default: 1)")
    parser.add_argument("--repeats", type=int, default=50, help="turns of each way")
    parser.add_argument("--plans", action="store_true", help="also try other plans, which takes minutes")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()
    try:
        import triton
    except ImportError:
        triton = None
    if triton is None or not torch.cuda.is_available():
        missing = "Triton, which is not installed" if triton is None else "a CUDA device, and there is none"
        print(f"This benchmark needs {missing}.", file=sys.stderr)
        sys.exit(2)
    fastest = bandwidth()
    print(f"{torch.cuda.get_device_name()}: a copy moves {fastest / 1e9:.0f} GB/s")
    results = {}
    for (role, (rows, columns)), sparsity in itertools.product(SHAPES.items(), options.sparsities):
        shape = f"{role} ({rows} x {columns})"
        found = measure(rows, columns, sparsity, options, fastest)
        results.setdefault(shape, {})[str(sparsity)] = found
        tell(shape, sparsity, found)
    facts = {"inputs": options.inputs, "repeats": options.repeats, "flushed_bytes": FLUSHED, "dtype": "bfloat16"}
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment() | {"triton": triton.__version__},
        "protocol": facts,
        "bandwidth": {"bytes_per_second": fastest, "copied_bytes": COPIED},
        "results": results,
    }
    write_json(options.out, document)


if __name__ == "__main__":
    main()
