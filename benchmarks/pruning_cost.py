"""What pruning costs: time against the forward passes it needs, SparseGPT against the textbook loop, peak memory.

    python benchmarks/pruning_cost.py [--repeats 3] [--layers 2] [--tokens 4096] [--only embedded sparsegpt memory]

* embedded: every solver on the embedded model, and the two forward passes that a block needs (one to collect, one to
  hand on), timed as two plain passes of the model over the same windows; interleaved.
* sparsegpt: our solver against the textbook loop, which updates all columns after each one, and against the same with
  the updates of 128 columns taken together (as the paper's reference does), on the shapes of a Llama-3.2-1B block, on
  random weights and inputs; interleaved.
* memory: a fresh process prunes a random-weight model of those shapes (`--layers` blocks, a small vocabulary, bf16) and
  reports what it holds above the model at its peak, beside what a plain forward pass of the same text holds, two blocks,
  and the activations between them.

With --only the other results stay as they are stored.

Stores benchmarks/results/pruning_cost/results.json.
"""

import argparse
import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from evals import statistics
from evals.cost.peak import high_water_mark
from evals.environment import environment
from models import load
from models.storage.files import read_json, write_json
from pruning import PruningConfig, prune
from pruning.calibrating.windows import calibration_windows
from pruning.numerics.layer_problem import LayerProblem
from pruning.numerics.mask_rule import MaskRule
from pruning.patterns.unstructured import Unstructured
from pruning.registry import find

OUT = Path(__file__).parent / "results" / "pruning_cost"
SHAPES = {"q, o": (2048, 2048), "gate, up": (8192, 2048), "down": (2048, 8192)}  # of Llama-3.2-1B
METHODS = {"wanda": ("wanda", "none"), "sparsegpt": ("obs", "sparsegpt")}
SOLVERS: dict[str, dict] = {
    "sparsegpt": {"method": "obs", "solver": "sparsegpt"},
    "wanda + refit": {"method": "wanda", "solver": "refit"},
    "alps": {"method": "wanda", "solver": "alps"},
    "exchange": {"method": "obs", "solver": "exchange"},
    "fisher + exchange, global": {"method": "fisher", "solver": "exchange", "pattern": "unstructured:global"},
}
BLOCK = 128


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict]:
    """Seconds of each contender, in turns after one that does not count, and the first one's time over each."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-1, repeats):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    first = np.array(next(iter(seconds.values())))
    results = {}
    for name, runs in seconds.items():
        median, ratio = statistics.median(np.array(runs)), statistics.ratio_of_medians(first, np.array(runs))
        results[name] = {
            "median": median.value, "interval": median.interval, "runs": runs, "unit": "s",
            "first_over_this": ratio.value, "first_over_this_interval": ratio.interval,
        }  # fmt: skip
    return results


def on_embedded(repeats: int) -> dict:
    """Every solver, and the forward passes that Wanda needs."""
    model, tokenizer, _ = load("embedded")
    batches = calibration_windows(model, tokenizer, PruningConfig()).batches

    @torch.inference_mode()
    def passes() -> None:
        for batch in (*batches, *batches):
            model.model(**batch.inputs(model.device), use_cache=False)  # without the head, which pruning never runs

    def pruned(settings: dict) -> None:
        prune(copy.deepcopy(model), tokenizer, PruningConfig(**settings), undoable=False)

    contenders = {name: partial(pruned, settings) for name, settings in SOLVERS.items()}
    return interleaved({"wanda": partial(pruned, {}), "two forward passes": passes, **contenders}, repeats)


def textbook(weight: torch.Tensor, gram: torch.Tensor, sparsity: float, together: int) -> torch.Tensor:
    """SparseGPT (Frantar and Alistarh, 2023, algorithm 1), a column at a time; `together` columns choose and update."""
    weight, hessian = weight.clone(), gram.clone()
    hessian.diagonal().add_(0.01 * hessian.diagonal().mean())
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    for start in range(0, weight.shape[1], together):
        end = min(start + together, weight.shape[1])
        block, factor = weight[:, start:end].clone(), inverse[start:end, start:end]
        errors = torch.zeros_like(block)
        scores = block.square() / factor.diagonal().square()
        gone = scores <= scores.flatten().sort().values[int(scores.numel() * sparsity)]
        for column in range(end - start):
            kept = block[:, column].masked_fill(gone[:, column], 0)
            errors[:, column] = (block[:, column] - kept) / factor[column, column]
            block[:, column:] -= errors[:, column : column + 1] @ factor[column : column + 1, column:]
            block[:, column] = kept
        weight[:, start:end] = block
        weight[:, end:] -= errors @ inverse[start:end, end:]
    return weight


def sparsegpt(repeats: int) -> dict:
    """Our SparseGPT against the textbook loop, by shape."""
    solve = find("solver", "sparsegpt").implementation
    results = {}
    for name, (rows, columns) in SHAPES.items():
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(rows, columns, generator=generator)
        inputs = torch.randn(2 * columns, columns, generator=generator)
        gram = inputs.t() @ inputs
        values = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
        target = MaskRule(Unstructured(), 0.5, "layer")

        def ours(weight=weight, values=values, target=target) -> None:
            solve(LayerProblem(weight, torch.zeros_like(weight), target, values, "obs"))

        loops = {"column by column": columns, f"in blocks of {BLOCK}": BLOCK}
        theirs = {loop: partial(textbook, weight, gram, 0.5, together) for loop, together in loops.items()}
        results[f"{name} ({rows} x {columns})"] = interleaved({"ours": ours, **theirs}, repeats)
    return results


def memory(layers: int, tokens: int) -> dict:
    """The peak of each method in a process of its own."""
    results = {}
    for name in METHODS:
        command = [sys.executable, __file__, "--child", name, "--layers", str(layers), "--tokens", str(tokens)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        results[name] = json.loads(answer.stdout.splitlines()[-1])
    return results


def child(name: str, layers: int, tokens: int) -> None:
    """Prunes in this process and prints what it held, in bytes."""
    import psutil
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load("embedded").tokenizer
    config = LlamaConfig(
        hidden_size=2048, intermediate_size=8192, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=len(tokenizer), max_position_embeddings=2048,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    held = psutil.Process().memory_info().rss
    method, solver = METHODS[name]
    windows = max(1, tokens // 512)
    settings = PruningConfig(method=method, solver=solver, sparsity=0.5, samples=windows, sequence_length=512)
    with torch.inference_mode():
        for batch in calibration_windows(model, tokenizer, settings).batches:
            model.model(**batch.inputs(model.device), use_cache=False)
    forward = high_water_mark()[0] - held
    began = time.perf_counter()
    report = prune(model, tokenizer, settings, undoable=False)
    seconds = time.perf_counter() - began
    block = sum(parameter.nbytes for parameter in model.model.layers[0].parameters())
    activations = report.calibration["tokens"] * config.hidden_size * 2
    print(
        json.dumps(
            {
                "above_model": high_water_mark()[0] - held,
                "forward": forward,
                "model": sum(parameter.nbytes for parameter in model.parameters()),
                "block": block,
                "activations": activations,
                "seconds": seconds,
                "tokens": report.calibration["tokens"],
            }
        )
    )


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--only", nargs="+", choices=("embedded", "sparsegpt", "memory"), help="measure these again")
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.layers, options.tokens)
        return
    parts = {
        "embedded": lambda: on_embedded(options.repeats),
        "sparsegpt": lambda: sparsegpt(options.repeats),
        "memory": lambda: memory(options.layers, options.tokens),
    }
    file = OUT / "results.json"
    results = read_json(file)["results"] if options.only else {}
    results |= {name: measure() for name, measure in parts.items() if name in (options.only or parts)}
    document = {
        "schema_version": 1,
        "command": f"python benchmarks/pruning_cost.py --repeats {options.repeats}",
        "environment": environment(),
        "protocol": {"repeats": options.repeats, "layers": options.layers, "tokens": options.tokens},
        "results": results,
    }
    write_json(file, document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
