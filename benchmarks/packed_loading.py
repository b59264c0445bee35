"""What a packed model takes on disk, in memory and while it is loaded, beside the dense folder that it was made of.

    python benchmarks/packed_loading.py [--shape 1B] [--sparsity 0.5] [--repeats 3] [--out FILE]

A model of that shape with random weights and that share of random zeros in its projections is saved dense, packed and
packed in int8. Each folder is loaded in fresh processes, in turns, with the files in the page cache. The peak is what
the process's resident memory rose to while it loaded, above what it held before; it should be no more than the packed
weights and one matrix. Projections: the bytes of the packed matrices of the blocks over what those take in bf16.
Stores benchmarks/results/packed_loading/results.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from benchmarks.packed_decode import SHAPES, packed, random_model
from evals import statistics
from evals.cost.memory import disk_bytes
from evals.cost.peak import high_water_mark
from evals.environment import environment
from models.console.units import format_bytes
from models.storage.files import write_json
from pruning.anatomy.roles import find_blocks
from pruning.packing.install import packed_layers

OUT = Path(__file__).parent / "results" / "packed_loading" / "results.json"
FORMATS = {"dense": None, "packed": "auto", "packed int8": "int8"}


def write_folders(shape: str, sparsity: float, room: Path) -> dict[str, dict]:
    """A folder for every format, and what is known of the model before it is loaded."""
    dense = random_model(shape)
    sparse = packed(dense, sparsity, None)
    found = {}
    for name, format in FORMATS.items():
        model = sparse if format is None else packed(sparse, 0.0, format)
        model.save_pretrained(room / name)
        found[name] = {"bytes_on_disk": disk_bytes(room / name)}
        if format is not None:
            path = find_blocks(model)[0]
            layers = [layer for at, layer in packed_layers(model).items() if at.startswith(path)]
            found[name] |= {
                "projections": sum(layer.storage.bytes for layer in layers)
                / sum(2 * layer.in_features * layer.out_features for layer in layers),
                "largest_matrix": max(layer.storage.bytes for layer in packed_layers(model).values()),
            }
    return found


def load_here(folder: str) -> dict:
    """Loads a folder in this process: seconds, bytes, and how far the resident memory rose meanwhile."""
    from models.loading import load_network
    from models.memory import parameter_bytes
    from models.source import locate
    from pruning.packing.kernels import kernels

    kernels()
    from transformers import LlamaForCausalLM  # noqa: F401 -- its import belongs to the libraries

    torch.empty(1).normal_()
    Path("/proc/self/clear_refs").write_text("5")  # the mark begins again
    before = high_water_mark()[0]
    began = time.perf_counter()
    model = load_network(locate(folder), torch.device("cpu"), torch.bfloat16, as_stored=True)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": parameter_bytes(model), "peak": high_water_mark()[0] - before}


def take_turns(room: Path, found: dict[str, dict], repeats: int) -> None:
    """Adds what fresh processes measure, in turns."""
    runs: dict[str, list[dict]] = {name: [] for name in found}
    for _ in range(repeats):
        for name in found:
            told = subprocess.run(
                [sys.executable, __file__, "--child", str(room / name)], capture_output=True, text=True, check=True
            )
            runs[name].append(json.loads(told.stdout.splitlines()[-1]))
    for name, taken in runs.items():
        median = statistics.median(np.array([run["seconds"] for run in taken]))
        found[name] |= {
            "seconds": {"median": median.value, "interval": median.interval, "unit": "s"},
            "bytes_in_memory": taken[0]["bytes"],
            "peak_bytes": max(run["peak"] for run in taken),
        }


def main() -> None:
    """Measures, prints and stores; or, as a child, loads one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="1B", choices=list(SHAPES))
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(load_here(options.child)))
        return
    with tempfile.TemporaryDirectory() as room:
        found = write_folders(options.shape, options.sparsity, Path(room))
        take_turns(Path(room), found, options.repeats)
    for name, row in found.items():
        share = f"{row['projections']:.3f} of bf16 for the projections" if "projections" in row else ""
        print(
            f"{name:12} {format_bytes(row['bytes_on_disk'])} on disk, {format_bytes(row['bytes_in_memory'])} in memory, "
            f"{format_bytes(row['peak_bytes'])} at the peak of loading, {row['seconds']['median']:.1f} s  {share}"
        )
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {"shape": options.shape, "sparsity": options.sparsity, "repeats": options.repeats},
        "results": found,
    }
    write_json(options.out, document)


if __name__ == "__main__":
    main()
