"""Pretraining speed: tokens a second, the share of the machine's bf16 peak that they are, and what a step spends.

    python benchmarks/training_speed.py [--shape 6M] [--batch 8] [--length 512] [--steps 10] [--threads N]

* peak: the best of several large square bf16 matrix products, a multiply and an add counted as two operations.
* step: training steps (forward, backward, clipping, optimizers) on random tokens, three ways in turns: as trained,
  with torch's own attention, and with that and the fp32 copy of all logits, which was the way before.
* flops a token: 6 for every weight of a matrix product, and attention's 6 L H below the diagonal in each layer, for a
  window of L tokens and H = heads x head size (Kaplan et al., 2020, section 2.1, halved for the causal mask).
* shares: self time by kind of operation under torch's profiler, of steps as trained; the optimizers' products, copies
  and elementwise operations are among the others', and their sum is told apart.

CPU seconds are of all threads together: on a machine with other work they are what a quiet one would take.
Stores benchmarks/results/training_speed/results.json.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from models import load
from models.storage.files import write_json
from training.architecture import SHAPES, new_model
from training.attention import attention_for
from training.loss import Loss, token_loss
from training.optimizer import make_optimizers

OUT = Path(__file__).parent / "results" / "training_speed"
PEAK_SIZE = 4096
KINDS = {  # the first whose words are in an operation's name has its time
    "attention (fused)": ("scaled_dot_product",),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "softmax and cross-entropy": ("softmax", "nll_loss"),
    "copies and casts": ("copy_", "ToCopy", "aten::cat", "fill_", "zero_"),
    "elementwise and reductions": ("aten::", "adamw"),
}


def whole_logits_loss(model, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The loss as one would write it: all logits copied to fp32 at once."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def stepper(
    model, ids: torch.Tensor, loss: Loss, attention: Callable[..., AbstractContextManager]
) -> Callable[[], None]:
    """One training step, to be called again and again."""
    optimizers = make_optimizers(model, 1e-4, 0.1)
    weights = torch.ones(ids.shape[0], ids.shape[1] - 1)

    def step() -> None:
        with attention(model):
            with torch.autocast("cpu", torch.bfloat16):
                value = loss(model, ids, weights)
            value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turns(ways: dict[str, Callable[[], None]], steps: int, tokens: int) -> dict[str, dict]:
    """Tokens a second of each way, by the wall and by CPU seconds, after two steps that do not count."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(-2, steps):
        for name, step in ways.items():
            measured = timed(step)
            if turn >= 0:
                seconds[name].append(measured)
    results = {}
    for name, runs in seconds.items():
        wall, cpu = (statistics.median(np.array(column)) for column in zip(*runs, strict=True))
        results[name] = {
            "tokens_per_second": tokens / wall.value,
            "interval": [tokens / wall.interval[1], tokens / wall.interval[0]],
            "tokens_per_cpu_second": tokens / cpu.value,
            "cpu_interval": [tokens / cpu.interval[1], tokens / cpu.interval[0]],
        }
    return results


def peak() -> dict:
    """Operations a second of a large bf16 matrix product, by the wall and by CPU seconds: the best of five each."""
    one, other = (torch.randn(PEAK_SIZE, PEAK_SIZE).bfloat16() for _ in range(2))
    runs = [timed(lambda: one @ other) for _ in range(6)][1:]
    wall, cpu = (min(column) for column in zip(*runs, strict=True))
    return {"flops_per_second": 2 * PEAK_SIZE**3 / wall, "flops_per_cpu_second": 2 * PEAK_SIZE**3 / cpu}


def flops_per_token(model, length: int) -> int:
    """Operations that the model's mathematics need for one token, forward and backward."""
    config = model.config
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)  # the tied embedding is the head's matrix
    width = config.num_attention_heads * config.head_dim
    return 6 * matrices + 6 * config.num_hidden_layers * length * width


def shares(step: Callable[[], None], steps: int) -> dict[str, dict[str, float]]:
    """Of the profiled self time: the share of each kind of operation, and that of each optimizer with all it calls."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
    kinds: Counter[str] = Counter()
    events = profiler.key_averages()
    for event in events:
        kind = next((kind for kind, words in KINDS.items() if any(word in event.key for word in words)), "the rest")
        kinds[kind] += event.self_cpu_time_total
    total = kinds.total()
    optimizers = {event.key: event.cpu_time_total / total for event in events if event.key.startswith("Optimizer.step")}
    return {"kinds": {kind: value / total for kind, value in kinds.most_common()}, "optimizers": optimizers}


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="6M")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = new_model(load("embedded").tokenizer, options.shape, options.length).train()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (options.batch, options.length + 1), generator=generator)
    fused = lambda model: nullcontext()  # noqa: E731
    ways = {
        "as trained": stepper(model, ids, token_loss, attention_for),
        "torch's attention": stepper(model, ids, token_loss, fused),
        "and all logits in fp32": stepper(model, ids, whole_logits_loss, fused),
    }
    speeds = in_turns(ways, options.steps, options.batch * options.length)
    machine, needed = peak(), flops_per_token(model, options.length)
    trained = speeds["as trained"]
    results = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_token": needed,
        "peak": machine,
        "speeds": speeds,
        "fraction_of_peak": needed * trained["tokens_per_second"] / machine["flops_per_second"],
        "fraction_of_peak_cpu": needed * trained["tokens_per_cpu_second"] / machine["flops_per_cpu_second"],
        "shares": shares(ways["as trained"], 3),
    }
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {name: getattr(options, name) for name in ("shape", "batch", "length", "steps", "threads")},
        "results": results,
    }
    write_json(OUT / "results.json", document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
