"""The one training loop: next-token loss with a weight per token, bf16 arithmetic, resumable checkpoints."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from models.errors import EspalierError, RequestError
from models.files import new_file
from models.progress import Progress, silent
from training.optimizer import OPTIMIZERS, linear_schedule, make_optimizers

Window = tuple[np.ndarray, np.ndarray]  # token ids [L + 1], loss weight of each target [L]
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]  # of a batch: model, ids, weights


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train. A step takes `batch` windows of `length` tokens."""

    tokens: int
    length: int = 512
    batch: int = 8
    learning_rate: float = 2e-3
    optimizer: str = "muon"
    warm_up: float = 0.02
    weight_decay: float = 0.1
    clip: float = 1.0
    minutes: float | None = None  # a time limit; the schedule then ends at whichever comes first
    checkpoint_every: int = 500  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.tokens, self.length, self.batch, self.checkpoint_every) < 1:
            raise RequestError("Training needs at least one token, one window and one step between checkpoints.")
        if self.optimizer not in OPTIMIZERS:
            raise RequestError(f"Unknown optimizer {self.optimizer!r}: use one of {', '.join(OPTIMIZERS)}.")


@dataclass
class Progression:
    """Where a run stands, and the loss it has seen (nats per weighted target, every `record_every` steps)."""

    step: int = 0
    seconds: float = 0.0
    fraction: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)


def token_loss(model: nn.Module, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy (nats), each target weighted; ids [B, L + 1], weights [B, L]."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum().clamp_min(1e-6)


def train(
    model: nn.Module,
    windows: Iterator[Window],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    record_every: int = 20,
    loss: Loss = token_loss,
) -> Progression:
    """Trains `model` in place on its device and returns the run's record.

    `loss(model, ids [B, L + 1], weights [B, L])` is what is minimised: next-token loss, or a teacher's with it.
    With `checkpoint` the run saves its whole state there, goes on from it if the file exists (the windows must come
    from the same seed), and removes it at the end. Raises EspalierError when the loss stops being a number.
    """
    progress = progress or silent
    device = next(model.parameters()).device
    optimizers = make_optimizers(model, config.learning_rate, config.weight_decay, config.optimizer)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    factor = linear_schedule(config.warm_up)
    state = Progression()
    if checkpoint and checkpoint.exists():
        state = _load(checkpoint, model, optimizers, config)
    windows = itertools.islice(windows, state.step * config.batch, None)
    step_tokens = config.batch * config.length
    recent: list[float] = []
    model.train()
    began = time.monotonic() - state.seconds
    while state.fraction < 1:
        _set_rates(optimizers, peaks, factor(state.fraction))
        value = _step(model, loss, [next(windows) for _ in range(config.batch)], optimizers, config.clip, device)
        if not np.isfinite(value):
            raise EspalierError(f"The loss became {value} at step {state.step}: use a lower --learning-rate.")
        recent.append(value)
        state.step += 1
        state.seconds = time.monotonic() - began
        state.fraction = state.step * step_tokens / config.tokens
        if config.minutes:
            state.fraction = max(state.fraction, state.seconds / 60 / config.minutes)
        if state.step % record_every == 0 or state.fraction >= 1:
            state.losses.append((state.step * step_tokens, float(np.mean(recent))))
            recent.clear()
        rate = state.step * step_tokens / state.seconds
        average = state.losses[-1][1] if state.losses else value
        progress(min(state.fraction, 1.0), f"step {state.step}, loss {average:.3f}, {rate:,.0f} tokens/s")
        if checkpoint and state.step % config.checkpoint_every == 0:
            _save(checkpoint, model, optimizers, state, config)
    model.eval()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return state


def _step(model, loss: Loss, batch: list[Window], optimizers, clip: float, device: torch.device) -> float:
    ids = torch.from_numpy(np.stack([window[0] for window in batch])).to(device)
    weights = torch.from_numpy(np.stack([window[1] for window in batch])).to(device, torch.float32)
    with torch.autocast(device.type, torch.bfloat16):
        value = loss(model, ids, weights)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return value.item()


def _set_rates(optimizers, peaks, factor: float) -> None:
    for optimizer, rates in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * factor


def _save(path: Path, model, optimizers, state: Progression, config: TrainingConfig) -> None:
    content = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "state": asdict(state),
        "config": asdict(config),
    }
    with new_file(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path, model, optimizers, config: TrainingConfig) -> Progression:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["config"] != asdict(config):
        raise RequestError(f"{path} is the checkpoint of a run with other options: remove it, or use the same ones.")
    model.load_state_dict(content["model"])
    for optimizer, saved in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return Progression(**content["state"])
