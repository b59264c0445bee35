"""How close a model is to another one with the same tokenizer: its odds token by token, and where its texts part."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evals.text_losses.scoring import TOO_LARGE, batch_size, next_token_logits, position_pieces
from models.console.out_of_memory import enough_memory
from models.console.progress import Progress, silent
from models.decoding import Generation
from models.errors import EspalierError, RequestError
from models.loading import Loaded
from models.sampling import Sampling
from models.text.prompts import leading_tokens


class Closeness(NamedTuple):
    """For each next token [n, L-1]: `kl`, KL(dense || pruned) in nats, `agrees`, whether both find one likeliest."""

    kl: np.ndarray
    agrees: np.ndarray


def refuse_other_tokenizer(first: Loaded, second: Loaded) -> None:
    """RequestError unless both models speak of the same tokens: their odds cannot be compared otherwise."""
    same = first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    if not same or _vocabulary(first.model) != _vocabulary(second.model):
        raise RequestError("The two models have different vocabularies: closeness is of models with one tokenizer.")


@torch.inference_mode()
def token_closeness(
    dense: PreTrainedModel, pruned: PreTrainedModel, windows: torch.Tensor, progress: Progress | None = None
) -> Closeness:
    """The two models' next-token odds on windows of ids [n, L], batch by batch, both models in memory.

    KL(P || Q) = sum over the vocabulary of P (log P - log Q) (Kullback and Leibler 1951), P the dense model's; the
    logarithms are fp32 and the sum fp64, a piece of the positions at a time. Raises EspalierError on output that is
    not finite or lack of memory.
    """
    report = progress or silent
    count, length = windows.shape
    kl, agrees = np.empty((count, length - 1)), np.empty((count, length - 1), dtype=bool)
    batch = min(batch_size(model.config, length, model.dtype.itemsize) for model in (dense, pruned))
    for start in range(0, count, batch):
        report(start / count, f"window {start + 1} of {count}")
        rows = slice(start, start + batch)
        with enough_memory(TOO_LARGE):
            logits = [next_token_logits(model, windows[rows].to(_device(model))) for model in (dense, pruned)]
            for piece in position_pieces(logits[0]):
                p, q = (each[:, piece].to(logits[0].device).float().log_softmax(-1) for each in logits)
                kl[rows, piece] = (p.exp() * (p - q)).sum(-1, dtype=torch.float64).cpu().numpy()
                agrees[rows, piece] = (p.argmax(-1) == q.argmax(-1)).cpu().numpy()
    if not np.isfinite(kl).all():
        raise EspalierError("A model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    report(1.0, f"{count} windows")
    return Closeness(kl, agrees)


def prompts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], count: int, length: int) -> list[list[int]]:
    """`count` passages of `length` tokens, evenly spaced over the token ids of a text, each after BOS where it has one.

    They do not overlap: a short text gives fewer, and at least one. Special tokens of the text itself are left out.
    """
    leading = leading_tokens(tokenizer)
    body = [int(token) for token in ids if token not in tokenizer.all_special_ids]
    length = min(length, len(body))
    count = max(1, min(count, len(body) // max(1, length)))
    starts = np.linspace(0, len(body) - length, count).astype(int)
    return [[*leading, *body[start : start + length]] for start in starts]


def continuations(loaded: Loaded, prompts: Sequence[Sequence[int]], tokens: int, progress: Progress) -> list[list[int]]:
    """What a model writes on greedily, `tokens` ids for each prompt, past an end of text."""
    found = []
    for number, prompt in enumerate(prompts):
        progress(number / len(prompts), f"continuation {number + 1} of {len(prompts)}")
        found.append(_generation(loaded, prompt, tokens).run().ids)
    progress(1.0, f"{len(prompts)} continuations")
    return found


def partings(
    loaded: Loaded, prompts: Sequence[Sequence[int]], others: Sequence[Sequence[int]], progress: Progress
) -> np.ndarray:
    """How many tokens [n] a model writes greedily as another did, whose continuations are given, before they part.

    A count as long as the other's continuation means that they did not part.
    """
    found = []
    for number, (prompt, other) in enumerate(zip(prompts, others, strict=True)):
        progress(number / len(prompts), f"continuation {number + 1} of {len(prompts)}")
        generation = _generation(loaded, prompt, len(other))
        while not generation.finished and generation.ids == other[: len(generation.ids)]:
            generation.step()
        shared = len(generation.ids)
        found.append(shared if generation.ids == other[:shared] else shared - 1)
        generation.close()
    progress(1.0, f"{len(prompts)} continuations")
    return np.array(found)


def _generation(loaded: Loaded, prompt: Sequence[int], tokens: int) -> Generation:
    return Generation(loaded.model, loaded.tokenizer, prompt, Sampling(max_new_tokens=tokens, ignore_end=True))


def _vocabulary(model: PreTrainedModel) -> int:
    return model.config.get_text_config().vocab_size


def _device(model: PreTrainedModel) -> torch.device:
    return next(model.parameters()).device
