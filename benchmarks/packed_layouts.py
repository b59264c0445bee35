"""The embedded model, dense and pruned, in every layout: bytes, speed, perplexity, and whether the text stays the same.

    python benchmarks/packed_layouts.py [--source DATA] [--sparsity 0.5] [--turns 15] [--tokens 48] [--prompts 50]

Pruned by Wanda. Layouts: as transformers runs it, ours in bf16 and int8, bitsandbytes' int8 and nf4. Perplexity by the
protocol `gptq` on the embedded held-out text, or with --source on WikiText-2 test; its ratio is to the same model in
the plain layout, over the same windows. Speed through `generate`, batch 1, all in memory together and in turns.
Same text: of so many prompts, how many are written on exactly as the plain layout writes them, greedily; in bf16, where
logits are often equal to the last bit and another order of sums decides, and for our lossless layout also in fp32.
Stores benchmarks/results/packed_layouts/results.json.
"""

import argparse
import copy
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from benchmarks.packed_decode import generate
from evals import statistics
from evals.environment import environment
from evals.text_losses.data import Text, load_text
from evals.text_losses.perplexity import compare, score, summarise
from models import load
from models.console.units import format_bytes
from models.forward.plain_generation import plain_settings
from models.memory import parameter_bytes
from models.storage.files import write_json
from pruning import PruningConfig, prune
from pruning.packing.fast_path import require_fast_path
from pruning.packing.kernels import state
from pruning.packing.layout import in_layout
from training.sources import open_text

OUT = Path(__file__).parent / "results" / "packed_layouts" / "results.json"
LAYOUTS = (None, "auto", "int8", "int8:64", "bnb-int8", "bnb-nf4")
DENSE, PLAIN = "dense", "plain"


def variants(sparsity: float, layouts: tuple = LAYOUTS, dtype: str = "auto") -> dict:
    """By (model, layout), the loaded models; those of one row share what is the same."""
    dense = load("embedded", device="cpu", dtype=dtype)
    pruned = copy.deepcopy(dense.model)
    prune(pruned, dense.tokenizer, PruningConfig("wanda", sparsity))
    found = {}
    for name, model in ((DENSE, dense.model), (f"pruned {sparsity:g}", pruned)):
        for layout in layouts:
            own = model if layout is None else in_layout(model, layout)
            require_fast_path(f"{name}, {layout}", own)
            found[name, layout or PLAIN] = dense._replace(model=own)
    return found


def perplexities(models: dict, text) -> dict:
    """The perplexity of each, and its ratio to that of the same model in the plain layout."""
    scored = {key: score(loaded, text) for key, loaded in models.items()}
    found = {}
    for key, one in scored.items():
        own = summarise(one)[0]
        ratio = next(m for m in compare(scored[key[0], PLAIN], one) if m.metric == "perplexity_ratio")
        found[key] = {
            "perplexity": {"value": own.value, "interval": own.interval},
            "ratio": {"value": ratio.value, "interval": ratio.interval},
        }
    return found


def same_texts(models: dict, ids: torch.Tensor, count: int, tokens: int) -> dict:
    """How many of `count` prompts each writes on exactly as the plain layout of the same model does."""
    prompts = [ids[None, at : at + 12] for at in torch.linspace(0, len(ids) - 12, count).long().tolist()]
    texts = {}
    for key, loaded in models.items():
        with plain_settings(loaded.model, max_new_tokens=tokens) as settings:
            texts[key] = [loaded.model.generate(prompt, generation_config=settings)[0].tolist() for prompt in prompts]
    return {
        key: sum(one == other for one, other in zip(texts[key], texts[key[0], PLAIN], strict=True)) for key in texts
    }


def speeds(models: dict, ids: torch.Tensor, turns: int, tokens: int) -> dict:
    """Tokens a second of each, in turns, with the ratio to the dense model in the plain layout."""
    rates: dict = {key: [] for key in models}
    for turn in range(-1, turns):
        for key, loaded in models.items():
            rate = generate(loaded.model, ids[None, :16], tokens)[0]
            if turn >= 0:
                rates[key].append(rate)
    first = np.array(rates[DENSE, PLAIN])
    found = {}
    for key, runs in rates.items():
        median, ratio = statistics.median(np.array(runs)), statistics.ratio_of_medians(np.array(runs), first)
        found[key] = {
            "speed": {"median": median.value, "interval": median.interval, "unit": "tokens/s", "runs": runs},
            "times": {"value": ratio.value, "interval": ratio.interval},
        }
    return found


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, metavar="DATA", help="the data folder of training/README.md")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=48, help="tokens written")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args()
    if options.source is None:
        text = load_text("embedded")
    else:
        with open_text(options.source / "wikitext2/wiki.test.raw.gz") as file:
            text = Text("wikitext2_test_raw", file.read())
    models = variants(options.sparsity)
    tokenizer = next(iter(models.values())).tokenizer
    ids = torch.tensor(tokenizer(text.content[:60_000], add_special_tokens=False).input_ids)
    rows = perplexities(models, text)
    texts, timed = (
        same_texts(models, ids, options.prompts, options.tokens),
        speeds(models, ids, options.turns, options.tokens),
    )
    wide = same_texts(variants(options.sparsity, (None, "auto"), "float32"), ids, options.prompts, options.tokens)
    results: dict[str, dict] = {}
    for (name, layout), loaded in models.items():
        key = (name, layout)
        row = rows[key] | timed[key] | {"bytes": parameter_bytes(loaded.model), "same_texts": texts[key]}
        row |= {"same_texts_float32": wide[key]} if key in wide else {}
        results.setdefault(name, {})[layout] = row
        print(
            f"{name:11} {layout:9} {format_bytes(row['bytes']):>9}  {row['speed']['median']:6.1f} tokens/s  "
            f"perplexity {row['perplexity']['value']:.2f}, {row['ratio']['value']:.4f} of plain  "
            f"{row['same_texts']} of {options.prompts} texts the same"
            + (f", {wide[key]} in fp32" if key in wide else "")
        )
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {
            "kernels": state(), "text": text.id, "perplexity": "gptq", "turns": options.turns, "tokens": options.tokens,
            "prompts": options.prompts, "method": "wanda", "sparsity": options.sparsity,
            "bitsandbytes": version("bitsandbytes"),
        },
        "results": results,
    }  # fmt: skip
    write_json(options.out, document)


if __name__ == "__main__":
    main()
