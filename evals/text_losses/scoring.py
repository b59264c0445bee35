"""The loop that all perplexities share: the loss of every scored token of windows of token ids."""

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel

from evals.asking.forward import text_logits
from evals.text_losses.windows import Windows
from models.console.out_of_memory import enough_memory
from models.console.progress import Progress, part, silent
from models.errors import EspalierError

BATCH_TOKENS = 2048  # tokens of one forward pass; more of them gain no speed
LOGIT_BYTES = 128 << 20  # what one batch's logits may take
PIECE_BYTES = {"cpu": 4 << 20}  # what an fp32 copy of a piece of them may take: on a CPU it should stay in the cache
GRAIN = 64  # tokens; windows whose lengths differ by less are padded to one length

TOO_LARGE = "Out of memory while scoring: use a smaller model or shorter windows."


class Group(NamedTuple):
    """Windows that are scored alike: `ids` [m, L], padded on the right, scored from place `first` on.

    `rows` [m] are their numbers.
    """

    ids: torch.Tensor
    first: int
    rows: list[int]


Answer = Callable[[Group, Progress], np.ndarray]  # the losses [m, L - first] of a group


def losses_of(windows: Windows, answer: Answer, progress: Progress | None = None) -> list[np.ndarray]:
    """The losses in nats of the scored tokens of each window, n arrays [L_i - first_i], asked for in groups."""
    found: list[np.ndarray] = [np.empty(0)] * len(windows.ids)
    all_groups = groups(windows)
    total, done = sum(group.ids.numel() for group in all_groups), 0
    for group in all_groups:
        share = part(progress, done / total, (done + group.ids.numel()) / total)
        losses = answer(group, share)
        for row, line in zip(group.rows, losses, strict=True):
            first = int(windows.first[row])
            found[row] = line[first - group.first : len(windows.ids[row]) - group.first]
        done += group.ids.numel()
    return found


def groups(windows: Windows) -> list[Group]:
    """The windows in groups of about one length and one first scored place, the longest windows first."""
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, (ids, first) in enumerate(zip(windows.ids, windows.first, strict=True)):
        members[-(-len(ids) // GRAIN), (int(first) - 1) // GRAIN].append(row)
    found = []
    for _, rows in sorted(members.items(), reverse=True):
        length = max(len(windows.ids[row]) for row in rows)
        # Nothing is masked: a causal model's losses do not depend on what comes after.
        ids = np.stack([np.pad(windows.ids[row], (0, length - len(windows.ids[row]))) for row in rows])
        found.append(Group(torch.from_numpy(ids), int(min(windows.first[row] for row in rows)), rows))
    return found


def batch_size(config: PretrainedConfig, length: int, item_bytes: int) -> int:
    """How many windows of `length` tokens are scored at once, for logits of `item_bytes` each."""
    window_bytes = length * config.get_text_config().vocab_size * item_bytes
    return max(1, min(BATCH_TOKENS // length, LOGIT_BYTES // window_bytes))


def token_losses(
    model: PreTrainedModel, windows: torch.Tensor, first: int = 1, progress: Progress | None = None
) -> np.ndarray:
    """The negative log-likelihood in nats [n, L - first] of every token from place `first` on of windows of ids [n, L].

    Raises EspalierError on output that is not finite or lack of memory.
    """
    report = progress or silent
    count, length = windows.shape
    batch = batch_size(model.config, length, model.dtype.itemsize)
    losses = np.empty((count, length - first), dtype=np.float32)
    for start in range(0, count, batch):
        report(start / count, f"window {start + 1} of {count}")
        losses[start : start + batch] = batch_losses(model, windows[start : start + batch], first)
    report(1.0, f"{count} windows")
    return losses


@torch.inference_mode()
def batch_losses(model: PreTrainedModel, windows: torch.Tensor, first: int = 1) -> np.ndarray:
    """`token_losses` of one batch, in one forward pass.

    The losses are fp32; the logits are widened a piece at a time, so that a large vocabulary never has all of a batch
    in fp32.
    """
    ids = windows.to(next(model.parameters()).device)
    with enough_memory(TOO_LARGE):
        losses = _next_token_losses(next_token_logits(model, ids, first), ids[:, first:]).cpu()
    if not bool(torch.isfinite(losses).all()):
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    return losses.numpy()


def next_token_logits(model: PreTrainedModel, ids: torch.Tensor, first: int = 1) -> torch.Tensor:
    """The logits [B, L - first, V] for the tokens from place `first` on of ids [B, L], whose last is not read.

    RequestError for a model that is not causal.
    """
    return text_logits(model, ids[:, :-1], first - 1)


def position_pieces(logits: torch.Tensor) -> list[slice]:
    """Slices of the positions of logits [B, k, V] so small that an fp32 copy of each is no burden."""
    rows, length, vocabulary = logits.shape
    step = max(1, PIECE_BYTES.get(logits.device.type, LOGIT_BYTES) // (4 * rows * vocabulary))
    return [slice(start, start + step) for start in range(0, length, step)]


def _next_token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    # logits [B, k, V], targets [B, k] -> [B, k]
    pieces = [
        functional.cross_entropy(
            logits[:, piece].float().flatten(0, 1), targets[:, piece].flatten(), reduction="none"
        ).view(len(targets), -1)
        for piece in position_pieces(logits)
    ]
    return torch.cat(pieces, dim=1)
