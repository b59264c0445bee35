"""Fine-tuning: the pretrained model learns the prompt formats, on a mixture of tasks and some of its old texts."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from models.console.progress import Progress
from models.loading import load_network
from models.source import locate
from models.storage.reading import parse_object
from training.checkpoint import checkpoint_of, kept, try_out
from training.corpus import Corpus
from training.identity import model_digest, run_identity, windows_digest
from training.loop import Progression, TrainingConfig, Window, train
from training.loss_plot import require_matplotlib
from training.mixture import Mixture, mixed_examples
from training.packing import Encoded, encode_example, pack
from training.pretrain import run_record, save_trained, whole_windows
from training.tasks import Task


def finetune(
    pretrained: Path,
    corpus: Corpus,
    root: Path,
    out: Path,
    config: TrainingConfig,
    mixture: Mixture,
    device: str = "cpu",
    progress: Progress | None = None,
    facts: dict | None = None,
) -> Progression:
    """Fine-tunes the model in `pretrained` and saves it to `out`; `config.tokens` is set by the mixture.

    `facts` go into `training.json` with the mixture and its counts.
    """
    try_out(out)
    require_matplotlib()
    history = parse_object(pretrained / "training.json", "name the folder that pretraining wrote")
    model = load_pretrained(pretrained, device)
    windows, counts = mixed_windows(root, corpus, config, mixture)
    config = replace(config, tokens=max(len(windows) // config.step_windows, 1) * config.step_tokens)
    data = {"mixture": asdict(mixture), "examples": counts, "windows": len(windows)} | (facts or {})

    def save(record: Progression) -> None:
        save_trained(model, corpus.tokenizer, out, history | {"finetuning": run_record(config, record, data)})

    checkpoint = checkpoint_of(out)
    made_of = run_identity(corpus, device, model=model_digest(pretrained), windows=windows_digest(windows))
    with kept(checkpoint):
        return train(model, iter(windows), config, checkpoint, progress, identity=made_of, save=save)


def load_pretrained(folder: Path, device: str = "cpu") -> PreTrainedModel:
    """The model in `folder` with fp32 weights, as pretraining had them: bf16 ones would lose small updates."""
    return load_network(locate(str(folder)), torch.device(device), torch.float32)


def mixed_windows(
    root: Path,
    corpus: Corpus,
    config: TrainingConfig,
    mixture: Mixture,
    keep: Callable[[Task, str], bool] | None = None,
    most: int | None = None,
) -> tuple[list[Window], dict[str, int]]:
    """The windows of a fine-tuning run in the order in which they are trained on, and each task's examples.

    `most` stops at so many windows, which then are a random part of the whole mixture.
    """
    generator = random.Random(config.seed)
    tokenizer = corpus.tokenizer
    examples = list(mixed_examples(mixture, root, generator, keep))
    generator.shuffle(examples)
    counts: Counter[str] = Counter()

    def encoded() -> Iterator[Encoded]:
        for name, example in examples:
            counts[name] += 1
            yield encode_example(example, tokenizer, mixture.prompt_weight)

    share = mixture.pretraining_share
    new = None if most is None else round(most * (1 - share))
    windows = list(islice(pack(encoded(), config.length, tokenizer.pad_token_id), new))
    old = round(len(windows) * share / (1 - share))
    # Another seed than pretraining's: the stream is longer than what was read of it, so most of these are new.
    windows += islice(whole_windows(corpus, replace(config, seed=config.seed + 1)), old)
    generator.shuffle(windows)
    return windows, dict(counts)
