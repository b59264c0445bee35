"""Whole models with random weights that write through `generate`, greedily: tokens a second in every layout, in turns.

    python benchmarks/packed_decode.py [--shapes 1B 135M] [--sparsities 0.5 0.7] [--turns 5] [--prompt 16] [--tokens 24]
                                       [--threads 2] [--openvino PYTHON] [--out FILE]

The shapes are Llama-3.2-1B and SmolLM2-135M. What is timed side by side: the model as transformers runs it in bf16, the
same weights in our dense layout, with random zeros packed, in int8, and both; bitsandbytes' int8 and nf4 if it is
installed; OpenVINO's int8 if a PYTHON that has optimum-intel is named (see openvino_rival.py). Random weights are as fast
as trained ones and say nothing of quality. All are in memory together and take turns; every turn is one generation of a
batch of one.
Our layouts lie in huge pages, as packed models do; the others as their libraries allocate them. Beside each stands its
bound: the bytes that a token reads over the rate at which the memory that they lie in can be read, which in a virtual
machine is not the same everywhere; it is measured in the same turns (OpenVINO's is that of transformers' model).
Stores benchmarks/results/packed_decode/results.json.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from models.console.quiet import quiet_transformers
from models.forward.plain_generation import plain_settings
from models.memory import parameter_bytes
from models.storage.files import write_json
from pruning.anatomy.roles import find_anatomy
from pruning.packing.fast_path import require_fast_path
from pruning.packing.kernels import kernels, state
from pruning.packing.layout import apply_layout

OUT = Path(__file__).parent / "results" / "packed_decode" / "results.json"
SHAPES = {
    "1B": dict(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        head_dim=64, vocab_size=128256, rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    ),
    "135M": dict(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152,
    ),
}  # fmt: skip
TRANSFORMERS, DENSE = "transformers bf16", "dense"


def random_model(shape: str):
    """A Llama of that shape in bf16, tied, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=True, max_position_embeddings=2048, dtype="bfloat16")
    torch.manual_seed(0)
    with quiet_transformers():
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    return model.eval().requires_grad_(False)


def layouts(model, sparsities: list[float]) -> dict:
    """By name, the model in every layout. Ours lie in huge pages; transformers' weights as torch allocates them."""
    found = {
        TRANSFORMERS: deepcopy(model),
        DENSE: packed(model, 0.0, "dense"),
        "dense int8": packed(model, 0.0, "dense:int8"),
    }
    if find_spec("bitsandbytes"):
        found |= {f"bitsandbytes {name}": packed(model, 0.0, f"bnb-{name}") for name in ("int8", "nf4")}
    for sparsity in sparsities:
        found[f"packed {sparsity:g}"] = packed(model, sparsity, "auto")
        found[f"packed int8 {sparsity:g}"] = packed(model, sparsity, "int8")
    return found


def packed(model, sparsity: float, layout: str | None):
    """A copy in that layout (None: plain), with that share of zeros."""
    shared = {id(parameter): parameter for parameter in model.parameters()}  # not copied: packing only reads them
    copy = deepcopy(model, shared)
    if sparsity:
        for projection in find_anatomy(copy).projections:
            keep = torch.rand(projection.weight.shape) >= sparsity
            sparse = torch.where(keep, projection.weight, 0)
            projection.module.weight = torch.nn.Parameter(sparse, requires_grad=False)
    return copy if layout is None else apply_layout(copy, layout)


class Clock:
    """A streamer that takes down when each token came; the first call is for the prompt."""

    def __init__(self):
        self.times: list[float] = []

    def put(self, _) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def generate(model, ids: torch.Tensor, tokens: int) -> tuple[float, float]:
    """Tokens a second after the first one, and the seconds until the first."""
    clock = Clock()
    with plain_settings(model, max_new_tokens=tokens) as settings:
        model.generate(ids, generation_config=settings, streamer=clock)
    begun, first, *_, last = clock.times
    return (tokens - 1) / (last - first), first - begun


@contextmanager
def openvino(python: str | None, model, options: argparse.Namespace) -> Iterator[dict]:
    """By its name a function like `generate` for OpenVINO's int8 of a model, in a process that waits between its turns."""
    if python is None:
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        words = [f"--{name}={getattr(options, name)}" for name in ("prompt", "tokens", "threads")]
        script = str(Path(__file__).with_name("openvino_rival.py"))
        with subprocess.Popen(
            [python, script, folder, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            lines = (line for line in process.stdout if line.startswith(("{", "[")))
            told = json.loads(next(lines))

            def ask() -> tuple[float, float]:
                process.send_signal(signal.SIGCONT)
                process.stdin.write("\n")
                process.stdin.flush()
                answer = json.loads(next(lines))
                process.send_signal(signal.SIGSTOP)  # its threads spin for a while, in the time of whoever is next
                return answer

            yield {"OpenVINO int8": (ask, told["bytes"], told["versions"])}
            process.send_signal(signal.SIGCONT)
            process.stdin.close()


def read_all(tensors: list[torch.Tensor]) -> float:
    """Bytes a second of reading tensors from end to end."""
    words = [tensor.flatten().view(torch.uint8)[: tensor.nbytes // 128 * 128].view(torch.int64) for tensor in tensors]
    began = time.perf_counter()
    for each in words:
        kernels().read(each)
    return sum(each.nbytes for each in words) / (time.perf_counter() - began)


def take_turns(models: dict, rivals: dict, options: argparse.Namespace) -> dict:
    """Decode rates of every model and rival, turn by turn, with the ratios to the first two."""
    ids = torch.randint(0, 1000, (1, options.prompt))
    weights = {
        name: list({tensor.data_ptr(): tensor for tensor in model.parameters() if tensor.nbytes > 1 << 16}.values())
        for name, model in models.items()
    }
    runs = {name: partial(generate, model, ids, options.tokens) for name, model in models.items()}
    runs |= {name: ask for name, (ask, _, _) in rivals.items()}
    sizes = {name: parameter_bytes(model) for name, model in models.items()}
    sizes |= {name: size for name, (_, size, _) in rivals.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    firsts: dict[str, list[float]] = {name: [] for name in runs}
    readings: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(-1, options.turns):
        for name, run in runs.items():
            rate, first = run()
            if turn >= 0:
                rates[name].append(rate)
                firsts[name].append(first)
            if name in weights:
                readings[name].append(read_all(weights[name]))
    found = {}
    for name, size in sizes.items():
        bandwidth = float(np.median(readings.get(name, readings[TRANSFORMERS])))
        median = statistics.median(np.array(rates[name]))
        found[name] = {
            "median": median.value, "interval": median.interval, "unit": "tokens/s", "bytes": size, "runs": rates[name],
            "ttft": float(np.median(firsts[name])), "bytes_per_second": bandwidth, "bound": bandwidth / size,
            "share_of_bound": median.value * size / bandwidth,
        }  # fmt: skip
        for other in (TRANSFORMERS, DENSE):
            ratio = statistics.ratio_of_medians(np.array(rates[name]), np.array(rates[other]))
            found[name][f"times {other}"] = {"value": ratio.value, "interval": ratio.interval}
    versions = {name: told for name, (_, _, told) in rivals.items()}
    return {"models": found, "versions": versions}


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.7])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=24, help="tokens written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--openvino", metavar="PYTHON", help="the python of an environment with optimum-intel and nncf")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for shape in options.shapes:
        models = layouts(random_model(shape), options.sparsities)
        for name, model in models.items():
            require_fast_path(f"{shape}, {name}", model)
        with openvino(options.openvino, models[TRANSFORMERS], options) as rivals:
            results[shape] = take_turns(models, rivals, options)
        del models
        print(f"{shape}, kernels {state()}")
        for name, row in results[shape]["models"].items():
            ratios = "  ".join(f"{row[f'times {other}']['value']:5.2f} x {other}" for other in (TRANSFORMERS, DENSE))
            size = row["bytes"] / 2**20
            print(
                f"  {name:18} {row['median']:6.1f} tokens/s  {size:6.0f} MiB  {ratios}  ({row['share_of_bound']:.2f} of "
                f"the bound at {row['bytes_per_second'] / 1e9:.0f} GB/s)"
            )
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {"kernels": state(), "threads": options.threads, "turns": options.turns, "prompt_tokens": options.prompt,
                     "new_tokens": options.tokens},
        "results": results,
    }  # fmt: skip
    write_json(options.out, document)


if __name__ == "__main__":
    main()
