"""Fine-tuning: the pretrained model learns the prompt formats, on reviews, questions and some of its old texts."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from models.errors import RequestError
from models.files import read_json, refuse_existing
from models.progress import Progress
from models.quiet import quiet_transformers
from training.corpus import Corpus
from training.instructions import encode_example, pack, passage_example, passages, review_example, reviews
from training.loop import Progression, TrainingConfig, Window, train
from training.pretrain import run_record, save_trained, whole_windows


@dataclass(frozen=True)
class Mixture:
    """How often each kind of text is seen: epochs over the labelled sets, and the share of pretraining windows."""

    review_epochs: int = 1
    question_epochs: int = 2
    pretraining_share: float = 0.2

    def __post_init__(self) -> None:
        if min(self.review_epochs, self.question_epochs) < 0 or not 0 <= self.pretraining_share < 1:
            raise RequestError("Epochs must be 0 or more, and the share of pretraining windows below 1.")


def finetune(
    pretrained: Path,
    corpus: Corpus,
    root: Path,
    out: Path,
    config: TrainingConfig,
    mixture: Mixture,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Progression:
    """Fine-tunes the model in `pretrained` and saves it to `out`; `config.tokens` is set by the mixture.

    Starting from bf16 weights would lose small updates, so the arithmetic is that of pretraining: fp32 weights.
    """
    refuse_existing(out)
    history = read_json(pretrained / "training.json")
    with quiet_transformers():
        model = LlamaForCausalLM.from_pretrained(pretrained, dtype=torch.float32, use_safetensors=True).to(device)
    windows = mixed_windows(root, corpus, config, mixture)
    count = len(windows) - len(windows) % config.batch
    config = replace(config, tokens=count * config.length)
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    record = train(model, iter(windows), config, checkpoint, progress)
    facts = {"mixture": asdict(mixture), "windows": count}
    save_trained(model, corpus.tokenizer, out, history | {"finetuning": run_record(config, record, facts)})
    return record


def mixed_windows(root: Path, corpus: Corpus, config: TrainingConfig, mixture: Mixture) -> list[Window]:
    """All windows of a fine-tuning run, in the order in which they are trained on."""
    generator = random.Random(config.seed)
    tokenizer = corpus.tokenizer
    examples = []
    for _ in range(mixture.review_epochs):
        examples += [encode_example(review_example(r), tokenizer) for r in reviews(root)]
    generator.shuffle(examples)
    windows = list(pack(examples, config.length, tokenizer.pad_token_id))
    for _ in range(mixture.question_epochs):
        asked = [encode_example(passage_example(p, generator), tokenizer) for p in passages(root)]
        generator.shuffle(asked)
        windows += pack(asked, config.length, tokenizer.pad_token_id)
    old = round(len(windows) * mixture.pretraining_share / (1 - mixture.pretraining_share))
    windows += islice(_fresh_windows(corpus, config), old)
    generator.shuffle(windows)
    return windows


def _fresh_windows(corpus: Corpus, config: TrainingConfig) -> Iterator[Window]:
    # Another seed than pretraining's: the stream is longer than what was read of it, so most of these are new.
    return whole_windows(corpus, replace(config, seed=config.seed + 1))
