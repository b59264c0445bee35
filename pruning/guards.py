"""What keeps a pruning from going wrong unseen: a damaged dense model, too little memory, shortened arithmetic."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from models.console.out_of_memory import enough_memory
from models.console.progress import Progress
from models.errors import EspalierError, RequestError
from models.forward.causality import leaks, trial_texts
from pruning.calibrating.windows import Windows
from pruning.collect.blockwise import Batch
from pruning.job import Job

CHECKED_TOKENS = 2048
CHECKED_LENGTH = 512  # tokens of one piece: the logits of a large vocabulary take much memory
MARGIN = 1.0  # nats per token above uniform guessing; a random model is within a small part of one


def dense_perplexity(job: Job, windows: Windows, progress: Progress) -> float:
    """The dense model's perplexity on the first 2048 calibration tokens, in pieces of at most 512.

    exp of the mean negative log-likelihood (nats, fp32) of every token but each piece's first. Raises EspalierError if
    it is not finite, or worse than guessing uniformly among the vocabulary by more than 1 nat per token, and
    RequestError for a model that is not causal: its loss is that of one who sees the token that is asked for.
    """
    pieces = _pieces(windows)
    trial = _causal_trial(job)
    total, count, vocabulary = 0.0, 0, 1
    with job.walk([*trial, *pieces]) as walk:
        blocks = len(job.anatomy.blocks)
        for index in range(blocks):
            progress(index / blocks, "Checking the dense model")
            walk.advance(index)
        found = walk.logits()
        tried = [next(found) for _ in trial]
        if trial and leaks(*tried):
            raise RequestError(
                f"{type(job.model).__name__} is no causal model: its logits change with later tokens, and calibration "
                "needs a causal loss, so nothing was pruned; use a decoder model such as Llama, Qwen, Mistral or GPT-2 "
                "(a BERT-like one needs is_decoder: true)."
            )
        for piece, logits in zip(pieces, found, strict=True):
            vocabulary = logits.shape[-1]
            targets = piece.ids[0, 1:].to(logits.device)
            total += float(functional.cross_entropy(logits[0, :-1].float(), targets, reduction="sum"))
            count += len(targets)
    loss = total / count
    if not math.isfinite(loss):
        raise EspalierError(
            f"The dense model's output on the calibration text is not finite{_broken_weight(job)}: its files are "
            "damaged, or it overflows in this dtype; fetch it again, or try --dtype float32."
        )
    if loss > math.log(vocabulary) + MARGIN:
        raise EspalierError(
            f"The dense model predicts the calibration text worse than guessing would (a loss of {loss:.1f} nats per "
            f"token; guessing among {vocabulary} tokens has {math.log(vocabulary):.1f}), so nothing was pruned: its "
            "weights or its tokenizer are not what they should be; fetch it again, or use other --calibration."
        )
    return math.exp(loss)


@contextmanager
def memory_advice(device: torch.device) -> Iterator[None]:
    """Turns a lack of memory into an EspalierError that names the options to change."""
    other = "--offload or --device cpu" if device.type == "cuda" else "--activations disk or --dtype bfloat16"
    with enough_memory(
        f"Out of memory while pruning on {device.type}: use fewer --samples, a shorter --sequence-length, {other}."
    ):
        yield


def _pieces(windows: Windows) -> list[Batch]:
    pieces, tokens = [], 0
    for batch in windows.batches:
        for ids, mask in zip(batch.ids, batch.mask, strict=True):
            piece = ids[mask][None, :CHECKED_LENGTH]
            pieces.append(Batch(piece, torch.ones_like(piece, dtype=torch.bool)))
            tokens += piece.shape[1]
            if tokens >= CHECKED_TOKENS:
                return pieces
    return pieces


def _causal_trial(job: Job) -> list[Batch]:
    texts = trial_texts(job.model.config.get_text_config())
    if texts is None:
        return []
    return [Batch(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in (texts, texts[:1].repeat(len(texts), 1))]


def _broken_weight(job: Job) -> str:
    broken = (name for name, weight in job.model.named_parameters() if not bool(weight.detach().isfinite().all()))
    name = next(broken, None)
    return f" ({name.removesuffix('.weight')} has weights that are not)" if name else ""
