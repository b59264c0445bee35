"""Losses and labels of single examples: what a search minimises, and how a language model classifies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from training.formats import SENTIMENT_LABELS
from training.packing import Encoded, encode_example
from training.sources import Review
from training.tasks.sentiment import example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_TOKENS = 4096  # of one forward pass, padding included


@torch.inference_mode()
def example_losses(model: PreTrainedModel, examples: Sequence[Encoded], length: int) -> np.ndarray:
    """The weighted negative log-likelihood in nats of each example [n], its tokens beyond `length + 1` left out."""
    device = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda index: len(examples[index][0]))
    losses = np.zeros(len(examples))
    while order:
        longest = min(len(examples[order[-1]][0]), length + 1)
        batch = [order.pop() for _ in range(min(len(order), max(1, BATCH_TOKENS // longest)))]
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        weights = torch.zeros(len(batch), longest)
        for row, index in enumerate(batch):
            tokens, counts = (part[:longest] for part in examples[index])
            ids[row, : len(tokens)] = torch.tensor(tokens)
            weights[row, : len(counts)] = torch.tensor(counts)
        # Padding follows the tokens, so that none of them sees it.
        logits = model(input_ids=ids[:, :-1].to(device), use_cache=False).logits.float()
        values = cross_entropy(logits.transpose(1, 2), ids[:, 1:].to(device), reduction="none")
        losses[batch] = (values.cpu() * weights[:, 1:]).sum(1).double().numpy()
    return losses


def predict_labels(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int
) -> np.ndarray:
    """The label [n] of each text whose word, with the line end after it, is the likeliest continuation."""
    losses = [
        example_losses(
            model, [encode_example(example(Review(text, label)), tokenizer, prompt_weight=0) for text in texts], length
        )
        for label in range(len(SENTIMENT_LABELS))
    ]
    return np.argmin(losses, axis=0)
