"""Pretraining: the embedded model from random weights on a corpus folder."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from models.files import new_folder, refuse_existing, write_json
from models.progress import Progress
from models.quiet import quiet_transformers
from training.architecture import new_model
from training.corpus import Corpus
from training.loop import Progression, TrainingConfig, Window, train
from training.tokenizer import save_tokenizer


def pretrain(
    corpus: Corpus, out: Path, config: TrainingConfig, device: str = "cpu", progress: Progress | None = None
) -> Progression:
    """Trains a new embedded model and saves it to `out` (bf16 safetensors, tokenizer, `training.json`).

    A run that was killed goes on from `out`.checkpoint when the same command is given again.
    """
    refuse_existing(out)
    model = new_model(corpus.tokenizer, config.length, config.seed).to(device)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    record = train(model, whole_windows(corpus, config), config, checkpoint, progress)
    save_trained(model, corpus.tokenizer, out, {"pretraining": run_record(config, record, corpus.manifest)})
    return record


def whole_windows(corpus: Corpus, config: TrainingConfig) -> Iterator[Window]:
    """The corpus as training windows in which every token counts."""
    weights = np.ones(config.length, dtype=np.float32)
    return ((ids, weights) for ids in corpus.windows(config.length, config.seed))


def save_trained(model, tokenizer, out: Path, record: dict) -> None:
    """Saves a trained model as a plain Hugging Face folder in bf16, with the record of its training."""
    with new_folder(out) as folder, quiet_transformers():
        # Shards below 10 MB: what a Space takes in an ordinary git push, without large-file storage.
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="9MB")
        save_tokenizer(tokenizer, folder, model.config.max_position_embeddings)
        write_json(folder / "training.json", record)


def run_record(config: TrainingConfig, record: Progression, data: dict) -> dict:
    """What `training.json` tells of one run: its options, its data, its losses and its time."""
    return {
        "options": asdict(config),
        "data": data,
        "steps": record.step,
        "tokens": record.step * config.batch * config.length,
        "seconds": round(record.seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "losses": [[tokens, round(loss, 4)] for tokens, loss in record.losses],
    }
