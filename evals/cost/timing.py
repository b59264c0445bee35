"""One timed generation: a mark on the clock after every token, and nothing on it but the model's forward passes.

Greedy, a batch of prompts of equal length, exactly as many tokens as asked for (the end-of-text token ends nothing),
the state that the model carries (`models.forward.state`). On the CPU a mark is `perf_counter`; on a GPU it is a CUDA event, and all events are read
after one synchronisation at the end, so that taking the time holds nothing up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from evals.cost.kv_cache import cache_bytes
from models.console.out_of_memory import ran_out
from models.errors import Cancelled, EspalierError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RanOutOfMemory(EspalierError):
    """The memory did not suffice for a generation of this size; a smaller one may still run."""


@dataclass(frozen=True)
class Run:
    """One generation: `token_times` are seconds from its start to each of its tokens, the same for the whole batch.

    `prompt_tokens` are those of one prompt. `cpu_seconds` is the processor time of this process, all its threads, and
    `cache_bytes` the most that the key-value cache held (None where it was not counted).
    """

    token_times: Sequence[float]
    prompt_tokens: int
    batch: int = 1
    cpu_seconds: float = 0.0
    cache_bytes: int | None = None

    @property
    def new_tokens(self) -> int:
        """Tokens written for each prompt."""
        return len(self.token_times)

    @property
    def ttft(self) -> float:
        """Seconds to the first token."""
        return self.token_times[0]

    @property
    def seconds(self) -> float:
        """Seconds to the last token."""
        return self.token_times[-1]

    @property
    def gaps(self) -> np.ndarray:
        """Seconds between consecutive tokens [new_tokens - 1]."""
        return np.diff(np.asarray(self.token_times, dtype=np.float64))

    @property
    def tpot(self) -> float:
        """Seconds for each token after the first, as one request of the batch sees it."""
        return (self.seconds - self.ttft) / (self.new_tokens - 1)

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens of the whole batch a second, until the first token."""
        return self.batch * self.prompt_tokens / self.ttft

    @property
    def decode_rate(self) -> float:
        """Tokens of the whole batch a second, after the first."""
        return self.batch / self.tpot

    @property
    def output_rate(self) -> float:
        """Tokens of the whole batch a second, from the start to the last token: prefill included."""
        return self.batch * self.new_tokens / self.seconds


class HostClock:
    """Marks by `perf_counter`: right where an operation is done when its call returns, as on the CPU."""

    name = "perf_counter"

    def __init__(self) -> None:
        self._marks: list[float] = []

    def mark(self) -> None:
        """Takes the time; the first mark is the start."""
        self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds from the first mark to each of the others."""
        return [mark - self._marks[0] for mark in self._marks[1:]]


class EventClock:
    """Marks by CUDA events in the stream of the work; `seconds` waits for the device once and reads them all."""

    name = "CUDA events"

    def __init__(self) -> None:
        self._marks: list[torch.cuda.Event] = []
        torch.cuda.synchronize()  # what was queued before must not count

    def mark(self) -> None:
        """Queues an event; the first is the start."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def seconds(self) -> list[float]:
        """Seconds from the first mark to each of the others."""
        torch.cuda.synchronize()
        return [self._marks[0].elapsed_time(mark) / 1000 for mark in self._marks[1:]]


def clock_for(device: torch.device) -> type[HostClock] | type[EventClock]:
    """The clock that is right for a device."""
    return EventClock if device.type == "cuda" else HostClock


def never() -> bool:
    """Answers that nobody asked to stop."""
    return False


@torch.inference_mode()
def time_generation(
    model: "PreTrainedModel",
    prompts: torch.Tensor,
    new_tokens: int,
    stopped: Callable[[], bool] = never,
    chunk: int | None = None,
    count_cache: bool = False,
) -> Run:
    """Times `new_tokens` tokens after each of the prompts [batch, tokens], which lie on the model's device.

    The prompt is read whole, or in pieces of `chunk` tokens where the model can, so that `stopped`, asked before every
    forward pass, is asked in between; when it says so, Cancelled is raised. `count_cache` counts the cache after every
    token: for a warm-up, since counting takes time. Raises RanOutOfMemory, and EspalierError if an output is not finite.
    """
    from models.forward.state import open_state

    batch, length = prompts.shape
    tops: list[torch.Tensor] = []
    held = 0
    try:
        state = open_state(model, batch)
        pieces = chunk if chunk and chunk < length and state.reads_pieces() else length
        waiting = list(prompts.split(pieces, dim=1))
        cpu_before = time.process_time()
        clock = clock_for(prompts.device)()
        clock.mark()
        while len(tops) < new_tokens:
            if stopped():
                raise Cancelled("The timing was stopped; nothing was measured.")
            logits = state.read(waiting.pop(0))
            if waiting:
                continue
            top, token = logits.max(dim=-1, keepdim=True)
            clock.mark()
            tops.append(top)
            waiting.append(token)
            if count_cache:
                held = max(held, cache_bytes(state.cache))
        token_times = clock.seconds()
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise RanOutOfMemory(
            f"Out of memory with a batch of {batch}, {length} prompt tokens and {new_tokens} new ones: "
            "use fewer of them, a smaller model or --dtype bfloat16."
        ) from error
    if not bool(torch.isfinite(torch.cat(tops)).all()):
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    return Run(token_times, length, batch, time.process_time() - cpu_before, held if count_cache else None)


def prompt_batch(ids: Sequence[int], batch: int, length: int) -> torch.Tensor:
    """Prompts [batch, length] cut from the ids of a text one after another, from its start again where it ends."""
    return torch.from_numpy(np.resize(np.asarray(ids, dtype=np.int64), batch * length).reshape(batch, length))
