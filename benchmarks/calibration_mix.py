"""What the calibration text does to a pruned model: the mix that ships against its prose alone and against C4.

    python benchmarks/calibration_mix.py --source DATA [--model smollm2] [--methods wanda,sparsegpt] [--seeds 0,1]

`DATA` is the data folder of training/README.md. Every calibration has the same number of windows of the same length;
half of the weights go. Measured are the losses of windows of WikiText-2 test, of pages of C4 that are not calibrated
on, of source code that does not ship, and of the answers in conversations (databricks-dolly-15k) in the model's own
chat form. A cell is a method, a calibration and a seed; those that benchmarks/results/calibration_mix/results.json
holds already, of the same settings, are not made again.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.calibration_building import SIZES, up_to
from benchmarks.calibration_texts import parts
from benchmarks.command import command_line
from evals.environment import environment
from models import Loaded, load
from models.storage.files import read_json, write_json
from models.text.chat import find_template
from pruning import PruningConfig, prune
from training.sources import open_text

OUT = Path(__file__).parent / "results" / "calibration_mix" / "results.json"
METHODS = {"wanda": {"method": "wanda"}, "sparsegpt": {"method": "obs", "solver": "sparsegpt"}}
CALIBRATIONS = ("embedded", "embedded:prose", "C4")
CONVERSATIONS, LONGEST_CONVERSATION = 60, 512  # tokens
Piece = tuple[list[int], int]  # token ids, and how many of the first are not measured


def c4(source: Path, measured: bool) -> list[str]:
    """Every second page of the sample: those that are measured, or those that are calibrated on."""
    with open_text(source / "c4_sample/c4.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["prefix"] + row["gold_completion"] for row in rows[int(measured) :: 2]]


def running(tokenizer, text: str, windows: int, length: int) -> list[Piece]:
    """The first windows of a text."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return [(ids[start : start + length], 1) for start in range(0, windows * length, length)]


def conversations(source: Path, tokenizer) -> list[Piece]:
    """The first short conversations of dolly in the model's chat form; only the answers are measured."""
    template, pieces = find_template(tokenizer), []
    with open_text(source / "dolly/dolly.jsonl.gz") as lines:
        for row in map(json.loads, lines):
            asked = [{"role": "user", "content": "\n\n".join(filter(None, (row["instruction"], row["context"])))}]
            answered = [*asked, {"role": "assistant", "content": row["response"]}]
            before, whole = (
                tokenizer(text, add_special_tokens=False)["input_ids"]
                for text in (template.text(asked), template.finished(answered))
            )
            if len(whole) <= LONGEST_CONVERSATION and whole[: len(before)] == before:
                pieces.append((whole, len(before)))
            if len(pieces) == CONVERSATIONS:
                break
    return pieces


def measured_texts(source: Path, tokenizer, options: argparse.Namespace) -> dict[str, list[Piece]]:
    """What is measured, by name."""
    with open_text(source / "wikitext2/wiki.test.raw.gz") as file:
        wikitext = file.read()
    shipped = len(list(up_to(parts.code(source), SIZES["code"])))
    code = "\n\n".join(list(parts.code(source))[shipped + 1 :])
    length, windows = options.measured_length, options.measured_windows
    return {
        "WikiText-2": running(tokenizer, wikitext, windows, length),
        "C4": running(tokenizer, "\n\n".join(c4(source, True)), windows // 2, length),
        "code": running(tokenizer, code, windows // 3, length),
        "chat": conversations(source, tokenizer),
    }


@torch.inference_mode()
def losses(model, pieces: list[Piece]) -> list[list[float]]:
    """Of every piece the summed loss in nats and how many tokens it is of."""
    found = []
    for ids, given in pieces:
        row = torch.tensor([ids], device=model.device)
        logits = model(input_ids=row, use_cache=False).logits[0, given - 1 : -1].float()
        summed = torch.nn.functional.cross_entropy(logits, row[0, given:], reduction="sum")
        found.append([round(float(summed), 4), len(ids) - given])
    return found


def all_losses(model, texts: dict[str, list[Piece]]) -> dict[str, list[list[float]]]:
    """The losses of every text."""
    return {name: losses(model, pieces) for name, pieces in texts.items()}


def cell(dense: Loaded, name: str, method: str, seed: int, texts: dict, options: argparse.Namespace) -> dict:
    """One pruned model: how it was calibrated, and its losses."""
    given = {} if name == "C4" else {"calibration": name}
    config = PruningConfig(
        **METHODS[method], **given, samples=options.windows, sequence_length=options.length, seed=seed
    )
    model, began = copy.deepcopy(dense.model), time.perf_counter()
    pages = c4(options.source, False) if name == "C4" else None
    report = prune(model, dense.tokenizer, config, pages, undoable=False)
    seconds = time.perf_counter() - began
    tokens = report.calibration["tokens"]
    return {"tokens": tokens, "seconds": round(seconds, 1), "losses": all_losses(model, texts)}


def main() -> None:
    """Makes the cells that are missing and stores after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the data folder of training/README.md")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--methods", default="wanda,sparsegpt")
    parser.add_argument("--calibrations", default=";".join(CALIBRATIONS), help="parted by semicolons")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--windows", type=int, default=32, help="of calibration")
    parser.add_argument("--length", type=int, default=1024, help="tokens of such a window")
    parser.add_argument(
        "--measured-windows", type=int, default=10, help="of WikiText-2; half as many of C4, a third of code"
    )
    parser.add_argument("--measured-length", type=int, default=2048, help="tokens of such a window")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    dense = load(options.model)
    texts = measured_texts(options.source, dense.tokenizer, options)
    names = ("model", "windows", "length", "measured_windows", "measured_length")
    settings = {name: getattr(options, name) for name in names}
    settings |= {"dtype": str(dense.model.dtype), "revision": dense.description.revision}
    stored = read_json(options.out) if options.out.exists() else {}
    cells = stored.get("cells", {}) if stored.get("settings") == settings else {}

    def keep() -> None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        head = {"schema_version": 1, "command": command_line(), "environment": environment(), "settings": settings}
        write_json(options.out, head | {"cells": cells})

    if "dense" not in cells:
        cells["dense"] = {"losses": all_losses(dense.model, texts)}
        keep()
    for seed in map(int, options.seeds.split(",")):
        for method in options.methods.split(","):
            for name in options.calibrations.split(";"):
                key = f"{method}, {name}, seed {seed}"
                if key not in cells:
                    cells[key] = cell(dense, name, method, seed, texts, options)
                    keep()
                    found = {
                        text: sum(s for s, _ in of) / sum(n for _, n in of) for text, of in cells[key]["losses"].items()
                    }
                    print(key, f"{cells[key]['seconds']} s", {text: round(loss, 4) for text, loss in found.items()})


if __name__ == "__main__":
    main()
