"""Our training loop against `transformers.Trainer` on the same windows: time of a step, loss after the last.

    python benchmarks/trainer.py --source DATA --corpus CORPUS --pretrained MODEL [--steps 30] [--rounds 3]

Both fine-tune `MODEL` on the same windows of the fine-tuning mixture, in the same order, in bf16 arithmetic on fp32
weights, with AdamW, the same learning rate, warm-up, linear decay and clipping. Trainer gets the smallest subclass that
weighs each token's loss, which it cannot do by itself; our loop also runs with Muon, which it does not have. The rounds
take turns. Stores benchmarks/results/trainer/results.json.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState
from transformers import Trainer, TrainingArguments

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.command import command_line
from evals import statistics
from evals.environment import environment
from models.storage.files import write_json
from training.corpus import Corpus
from training.finetune import load_pretrained, mixed_windows
from training.loop import TrainingConfig, train
from training.loss import token_loss
from training.mixture import Mixture

OUT = Path(__file__).parent / "results" / "trainer"
LENGTH = 256
RATES = {"adamw": 1e-3, "muon": 1e-3}


class WeighingTrainer(Trainer):
    """Trainer with a weight for each target, on windows in their order."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The weighted mean next-token loss."""
        return token_loss(model, inputs["ids"], inputs["weights"])

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def by_trainer(pretrained: Path, windows: list, config: TrainingConfig) -> torch.nn.Module:
    """Fine-tunes with Trainer."""
    model = load_pretrained(pretrained)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=config.batch, max_steps=len(windows) // config.batch,
            learning_rate=config.learning_rate, weight_decay=config.weight_decay, adam_beta2=0.95,
            max_grad_norm=config.clip, warmup_steps=round(config.warm_up * len(windows) / config.batch),
            lr_scheduler_type="linear", bf16=True, use_cpu=not torch.cuda.is_available(), save_strategy="no",
            logging_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        rows = [{"ids": torch.from_numpy(ids), "weights": torch.from_numpy(weights)} for ids, weights in windows]
        WeighingTrainer(model, arguments, train_dataset=rows).train()
    return model


def by_loop(pretrained: Path, windows: list, config: TrainingConfig) -> torch.nn.Module:
    """Fine-tunes with our loop."""
    model = load_pretrained(pretrained)
    train(model, iter(windows), config)
    return model


@torch.inference_mode()
def loss_on(model: torch.nn.Module, windows: list) -> float:
    """The weighted loss of windows that none was trained on, in nats."""
    ids, weights = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
    return token_loss(model.eval(), ids, weights).item()


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--corpus", type=Path, required=True, help="folder that `training data` made")
    parser.add_argument("--pretrained", type=Path, required=True, help="folder that `training pretrain` made")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    config = TrainingConfig(tokens=1, length=LENGTH, learning_rate=RATES["adamw"], optimizer="adamw")
    config = replace(config, tokens=options.steps * config.step_tokens)
    count = options.steps * config.step_windows
    windows, _ = mixed_windows(options.source, Corpus(options.corpus), config, Mixture(), most=count + 64)
    muon = replace(config, optimizer="muon", learning_rate=RATES["muon"])
    runs = {
        "Trainer, AdamW": lambda: by_trainer(options.pretrained, windows[:count], config),
        "our loop, AdamW": lambda: by_loop(options.pretrained, windows[:count], config),
        "our loop, Muon": lambda: by_loop(options.pretrained, windows[:count], muon),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    losses = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            AcceleratorState._reset_state(True)  # it is one of a process, and the two want other settings
            began = time.perf_counter()
            model = run()
            seconds[name].append((time.perf_counter() - began) / options.steps)
            losses[name] = loss_on(model, windows[count:])
    first = np.array(seconds["Trainer, AdamW"])
    results = {}
    for name, values in seconds.items():
        ratio = statistics.ratio_of_medians(first, np.array(values))
        results[name] = {
            "seconds_per_step": values, "loss": losses[name],
            "speed_over_trainer": ratio.value, "speed_over_trainer_interval": ratio.interval,
        }  # fmt: skip
    document = {
        "schema_version": 1,
        "command": command_line(),
        "environment": environment(),
        "protocol": {"steps": options.steps, "rounds": options.rounds, "rates": RATES, "training": asdict(config)},
        "results": results,
    }
    write_json(OUT / "results.json", document)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
