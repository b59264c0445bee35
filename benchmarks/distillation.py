"""Recovery of a pruned model with and without a teacher, on the same windows and on equal budgets of time.

    python benchmarks/distillation.py --source DATA --corpus CORPUS [--steps 200] [--sparsity 0.34]

The dense embedded model is the teacher; its twin without a share of its layers is the student. Two copies of the
student are trained on the fine-tuning mixture with half old text, in the same order of windows: one on the next token
alone, one on the teacher's distribution, too. What a step of each takes is measured first, in turns; the distilled run,
whose teacher costs time, then gets fewer steps, so that both take the same time on a machine that does nothing else.
Dense, pruned and recovered models are measured on the first held-out Wikipedia windows (perplexity; the ratio is paired
by window) and on SST-2 test (accuracy; the difference is paired by sentence). `CORPUS` is the folder of the pretraining
stream. Stores benchmarks/results/distillation/results.json.
"""

import argparse
import copy
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from evals.measurement import Measurement
from evals.statistics import Estimate
from evals.text_losses.data import Text
from evals.text_losses.perplexity import Scored, compare, score, summarise
from models import load
from models.console.progress import terminal_bar
from models.loading import Loaded
from models.storage.files import write_json
from pruning import PruningConfig, prune
from training.corpus import Corpus
from training.distillation import Distillation
from training.finetune import mixed_windows
from training.loop import TrainingConfig, train
from training.loss import Loss, token_loss
from training.mixture import Mixture
from training.sources import Review, open_text, read_sst2
from training.validation import predict_labels

OUT = Path(__file__).parent / "results" / "distillation"
WINDOWS = 150  # of the held-out articles
LEARNING_RATE = 1e-3
LENGTH = 256  # tokens of a training window
ROUNDS = 5  # of the timing
MIXTURE = Mixture(pretraining_share=0.5)


def measured(loaded: Loaded, text: Text, reviews: list[Review]) -> tuple[Scored, np.ndarray]:
    """The held-out text scored, and whether each review's label was found [n]."""
    labels = predict_labels(loaded.model, loaded.tokenizer, [review.text for review in reviews], 512)
    correct = labels == np.array([review.label for review in reviews])
    return score(loaded, text, most=WINDOWS), correct.astype(float)


def step_seconds(model, losses: dict[str, Loss], batch: list) -> dict[str, float]:
    """The median time of a forward and backward pass of each loss, taken in turns."""
    ids, weights = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
    model = copy.deepcopy(model).train()
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for turn in range(-1, ROUNDS):
        for name, loss in losses.items():
            began = time.perf_counter()
            with torch.autocast(ids.device.type, torch.bfloat16):
                loss(model, ids, weights).backward()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(runs)) for name, runs in seconds.items()}


def short(estimate: Estimate | Measurement) -> dict:
    """A number with its spread, as JSON."""
    return {"value": estimate.value, "interval": estimate.interval, "n": estimate.n}


def main() -> None:
    """Prunes, trains, measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that `training data` made")
    parser.add_argument("--steps", type=int, default=200, help="of the run without a teacher (default 200)")
    parser.add_argument("--sparsity", type=float, default=0.34)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--hard", type=float, default=0.5)
    options = parser.parse_args()

    with open_text(options.source / "wikipedia_en_2015/heldout.jsonl.gz") as file:
        text = Text("wikipedia_heldout", "\n\n".join(json.loads(line)["text"] for line in file))
    reviews = list(read_sst2(options.source / "sst2_glue/test.tsv.gz"))
    dense = load("embedded", dtype="float32")
    twin = dense._replace(model=copy.deepcopy(dense.model))
    prune(twin.model, twin.tokenizer, PruningConfig(structure="layers", sparsity=options.sparsity), undoable=False)
    config = TrainingConfig(tokens=1, length=LENGTH, learning_rate=LEARNING_RATE)
    most = options.steps * config.step_windows
    windows, _ = mixed_windows(options.source, Corpus(options.corpus), config, MIXTURE, most=most)
    losses = {
        "next token": token_loss,
        "distilled": Distillation(dense.model, options.temperature, options.hard),
    }
    outcomes = {"dense": measured(dense, text, reviews), "pruned": measured(twin, text, reviews)}
    seconds = step_seconds(twin.model, losses, windows[: config.batch])
    trained = {}
    for name, loss in losses.items():
        student = twin._replace(model=copy.deepcopy(twin.model))
        steps = round(options.steps * seconds["next token"] / seconds[name])
        settings = replace(config, tokens=steps * config.step_tokens)
        record = train(student.model, iter(windows), settings, progress=terminal_bar(), loss=loss)
        trained[name] = {"steps": record.step, "step_seconds": seconds[name], "losses": record.losses}
        outcomes[name] = measured(student, text, reviews)
    results: dict[str, dict] = {
        name: {
            "perplexity": short(summarise(scored)[0]),
            "sst2_accuracy": short(statistics.mean(correct)),
            **trained.get(name, {}),
        }
        for name, (scored, correct) in outcomes.items()
    }
    (plain, plain_correct), (taught, taught_correct) = outcomes["next token"], outcomes["distilled"]
    results["distilled over next token"] = {
        "perplexity_ratio": short(compare(plain, taught)[1]),
        "sst2_accuracy_difference": short(statistics.paired_difference(plain_correct, taught_correct)),
    }
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {
            "teacher": "embedded",
            "student": {"structure": "layers", "sparsity": options.sparsity, "layers": len(twin.model.model.layers)},
            "steps": options.steps,
            "temperature": options.temperature,
            "hard": options.hard,
            "training": asdict(config),
            "mixture": asdict(MIXTURE),
            "heldout_windows": WINDOWS,
        },
        "results": results,
    }
    write_json(OUT / "results.json", document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
