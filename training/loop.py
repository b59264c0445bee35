"""The one training loop: a loss with a weight per token, bf16 arithmetic, resumable, in one process or in many.

Under `accelerate launch` or `torchrun` every process reads the same windows and trains on its part of each batch, so
that a run has the same loss curve however many processes share it.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.console.progress import Progress, silent
from models.errors import EspalierError, RequestError
from models.policy import choose_dtype
from models.storage.disk import WriteFailed
from training.attention import attention_for
from training.checkpoint import load_checkpoint, save_checkpoint
from training.loss import Loss, token_loss
from training.optimizer import OPTIMIZERS, make_optimizers
from training.processes import Processes, Window
from training.schedules import SCHEDULES, rate_factor


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train. A step takes `accumulate` batches of `batch` windows of `length` tokens."""

    tokens: int
    length: int = 512
    batch: int = 8  # over all processes together
    accumulate: int = 1
    learning_rate: float = 2e-3
    schedule: str = "linear"
    optimizer: str = "muon"
    warm_up: float = 0.02  # share of the run
    weight_decay: float = 0.1
    clip: float = 1.0
    minutes: float | None = None  # a time limit; the schedule then ends at whichever comes first
    checkpoint_every: int = 500  # steps
    validate_every: int | None = None  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.tokens, self.length, self.batch, self.accumulate, self.checkpoint_every)
        if min(*counts, 1 if self.validate_every is None else self.validate_every) < 1:
            raise RequestError("Training needs at least one token, one window and one step between checkpoints.")
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0 and 0 <= self.warm_up < 1):
            raise RequestError("Learning rate and clip must be above 0, the warm-up a share of the run below 1.")
        if self.minutes is not None and not self.minutes > 0:
            raise RequestError("A time limit must be above 0 minutes.")
        if self.optimizer not in OPTIMIZERS:
            raise RequestError(f"Unknown optimizer {self.optimizer!r}: use one of {', '.join(OPTIMIZERS)}.")
        if self.schedule not in SCHEDULES:
            raise RequestError(f"Unknown schedule {self.schedule!r}: use one of {', '.join(SCHEDULES)}.")

    @property
    def step_windows(self) -> int:
        """Windows in a step, over all processes."""
        return self.batch * self.accumulate

    @property
    def step_tokens(self) -> int:
        """Targets in a step, over all processes."""
        return self.step_windows * self.length


@dataclass
class Progression:
    """Where a run stands, and the losses it has seen as (tokens, nats per weighted target)."""

    step: int = 0
    seconds: float = 0.0
    fraction: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)  # each the mean since the one before
    validation: list[tuple[int, float]] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)  # of the steps since the last in `losses`


def train(
    model: nn.Module,
    windows: Iterator[Window],
    config: TrainingConfig,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    record_every: int = 20,
    loss: Loss = token_loss,
    validation: Sequence[Window] = (),
    identity: dict | None = None,
    save: Callable[[Progression], None] | None = None,
) -> Progression:
    """Trains `model` in place on its device and returns the run's record.

    `loss(model, ids [B, L + 1], weights [B, L])` is what is minimised: next-token loss, or a teacher's with it. It is
    measured on the windows of `validation` every `config.validate_every` steps, and at the end.
    With `checkpoint` the run saves its whole state there, goes on from it if the file exists, and removes it at the
    end, after `save(record)`, which puts the trained model where it belongs. `identity` is what the run depends on
    besides `config` (JSON types): a checkpoint of another is refused. Raises RequestError if the processes cannot share
    a batch evenly, EspalierError when the loss stops being a number.
    """
    processes = Processes(model, config.batch)
    progress = progress if progress and processes.is_main else silent
    optimizers = make_optimizers(model, config.learning_rate, config.weight_decay, config.optimizer)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    state, options = Progression(), asdict(config) | {"run": identity or {}}
    if checkpoint and checkpoint.exists():
        state = Progression(**load_checkpoint(checkpoint, model, optimizers, options))
    shared = processes.wrap(model)
    windows = itertools.islice(windows, state.step * config.step_windows, None)
    model.train()
    began = time.monotonic() - state.seconds
    with attention_for(model):
        while state.fraction < 1:
            _seed(config.seed, state.step, processes.index)
            _set_rates(optimizers, peaks, rate_factor(config.schedule, config.warm_up, state.fraction))
            step = list(itertools.islice(windows, config.step_windows))
            if len(step) < config.step_windows:
                raise EspalierError(f"The windows ended at step {state.step}: use fewer --tokens or a smaller --batch.")
            value = accumulate_gradients(shared, loss, step, processes)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            value, seconds = processes.agree(float(value), time.monotonic() - began)
            if not np.isfinite(value):
                raise EspalierError(f"The loss became {value} at step {state.step}: use a lower --learning-rate.")
            _record(state, value, seconds, config, record_every)
            due = config.validate_every and (state.step % config.validate_every == 0 or state.fraction >= 1)
            if validation and due:
                measured = _validate(model, loss, validation, processes)
                state.validation.append((state.step * config.step_tokens, measured))
            progress(min(state.fraction, 1.0), _message(state, config))
            if checkpoint and processes.is_main and state.step % config.checkpoint_every == 0:
                save_checkpoint(checkpoint, model, optimizers, asdict(state), options)
    if save is not None:
        if checkpoint and processes.is_main and state.step % config.checkpoint_every:
            with suppress(WriteFailed):  # where there is no room for it there may be for the smaller model
                save_checkpoint(checkpoint, model, optimizers, asdict(state), options)
        save(state)
    model.eval()
    if checkpoint and processes.is_main:
        checkpoint.unlink(missing_ok=True)
    return state


def _seed(seed: int, step: int, process: int) -> None:
    # Dropout is drawn anew from these three, so that a resumed run draws what an unbroken one would, in every process.
    torch.manual_seed(int(np.random.SeedSequence((seed, step, process)).generate_state(1)[0]))


def _set_rates(optimizers, peaks, factor: float) -> None:
    for optimizer, rates in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * factor


def mixed_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16; on a CPU that does not multiply it, where it is many times slower, in float32."""
    enabled = device.type != "cpu" or choose_dtype(device) is torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def accumulate_gradients(model: nn.Module, loss: Loss, step: list[Window], processes: Processes) -> torch.Tensor:
    """Adds up the gradient of the step's weighted mean loss; returns what this process's windows are of that mean."""
    weight = max(sum(float(weights.sum()) for _, weights in step), 1e-6)  # of all processes: no need to ask them
    batches = list(processes.batches(step))
    value = torch.zeros((), device=processes.device)
    for number, (ids, weights) in enumerate(batches, 1):
        with nullcontext() if number == len(batches) else processes.without_averaging(model):
            with mixed_precision(ids.device):
                share = loss(model, ids, weights) * (weights.sum() / weight)
            (share * processes.count).backward()  # they are averaged over the processes, and should be added
        value += share.detach()
    return value


@torch.no_grad()
def _validate(model: nn.Module, loss: Loss, windows: Sequence[Window], processes: Processes) -> float:
    """The weighted mean loss over `windows`."""
    weight = sum(float(weights.sum()) for _, weights in windows)
    value = 0.0
    model.eval()
    for ids, weights in processes.batches(windows):
        with mixed_precision(ids.device):
            value += float(loss(model, ids, weights) * weights.sum()) / weight
    model.train()
    return processes.agree(value, 0.0)[0]


def _record(state: Progression, value: float, seconds: float, config: TrainingConfig, record_every: int) -> None:
    state.step += 1
    state.seconds = seconds
    state.recent.append(value)
    tokens = state.step * config.step_tokens
    state.fraction = tokens / config.tokens
    if config.minutes:
        state.fraction = max(state.fraction, state.seconds / 60 / config.minutes)
    if state.step % record_every == 0 or state.fraction >= 1:
        state.losses.append((tokens, float(np.mean(state.recent))))
        state.recent.clear()


def _message(state: Progression, config: TrainingConfig) -> str:
    average = state.losses[-1][1] if state.losses else state.recent[-1]
    rate = state.step * config.step_tokens / state.seconds
    held_out = f", validation {state.validation[-1][1]:.3f}" if state.validation else ""
    return f"step {state.step}, loss {average:.3f}{held_out}, {rate:,.0f} tokens/s"
