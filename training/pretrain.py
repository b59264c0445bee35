"""Pretraining: a new model from random weights on a corpus folder."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from models.console.progress import Progress
from models.console.quiet import quiet_transformers
from models.storage.files import new_folder, write_json
from training.architecture import new_model
from training.checkpoint import checkpoint_of, kept, try_out
from training.corpus import Corpus
from training.identity import run_identity
from training.loop import Progression, TrainingConfig, Window, train
from training.loss_plot import plot_losses, require_matplotlib
from training.tokenizer import save_tokenizer

VALIDATION_WINDOWS = 64


def pretrain(
    corpus: Corpus,
    out: Path,
    config: TrainingConfig,
    device: str = "cpu",
    progress: Progress | None = None,
    shape: str = "6M",
) -> Progression:
    """Trains a new model of one of the `SHAPES` and saves it to `out` (bf16 safetensors, tokenizer, `training.json`).

    With `config.validate_every` the last windows of the corpus are not trained on, but measured.
    A run that was killed goes on from `out`.checkpoint when the same command is given again.
    """
    try_out(out)
    require_matplotlib()
    model = new_model(corpus.tokenizer, shape, config.length, config.seed).to(device)
    checkpoint = checkpoint_of(out)
    held_out = VALIDATION_WINDOWS if config.validate_every else 0
    windows = _weighted(corpus.windows(config.length, config.seed, held_out=held_out), config)
    validation = list(_weighted(corpus.held_out(config.length, held_out), config))
    facts = corpus.manifest | {"shape": shape}

    def save(record: Progression) -> None:
        save_trained(model, corpus.tokenizer, out, {"pretraining": run_record(config, record, facts)})

    made_of = run_identity(corpus, device, shape=shape)
    with kept(checkpoint):
        return train(model, windows, config, checkpoint, progress, validation=validation, identity=made_of, save=save)


def whole_windows(corpus: Corpus, config: TrainingConfig) -> Iterator[Window]:
    """The corpus as training windows in which every token counts."""
    return _weighted(corpus.windows(config.length, config.seed), config)


def _weighted(windows: Iterable[np.ndarray], config: TrainingConfig) -> Iterator[Window]:
    weights = np.ones(config.length, dtype=np.float32)
    return ((ids, weights) for ids in windows)


def save_trained(model, tokenizer, out: Path, record: dict[str, dict]) -> None:
    """Saves a trained model as a plain Hugging Face folder in bf16, with the record of each stage of its training.

    Only the main process writes; in the others nothing is done.
    """
    if not PartialState().is_main_process:
        return
    with new_folder(out) as folder, quiet_transformers():
        # Shards below 10 MB: what a Space takes in an ordinary git push, without large-file storage.
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="9MB")
        save_tokenizer(tokenizer, folder, model.config.max_position_embeddings)
        write_json(folder / "training.json", record)
        plot_losses(record, folder)


def run_record(config: TrainingConfig, record: Progression, data: dict) -> dict:
    """What `training.json` tells of one run: its options, its data, its losses (nats a token) and its time."""
    return {
        "options": asdict(config),
        "data": data,
        "steps": record.step,
        "tokens": record.step * config.step_tokens,
        "seconds": round(record.seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": PartialState().num_processes,
        "losses": [[tokens, round(loss, 4)] for tokens, loss in record.losses],
        "validation": [[tokens, round(loss, 4)] for tokens, loss in record.validation],
    }
