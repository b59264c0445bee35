"""Decoding one continuation step by step, so that a caller may pause it, time it, stop it, or interleave two.

`model.generate` cannot be paused between tokens without a thread of its own; this loop is the model's forward with the
state that the model carries and transformers' logits processors, one call of `step` at a time.
"""

import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.console.out_of_memory import enough_memory
from models.description import context_length
from models.errors import EspalierError, RequestError
from models.forward.state import open_state
from models.sampling import Sampler, Sampling
from models.text.prompts import beginning, prompt_ids
from models.text.text_stream import TextStream

PREFILL_CHUNK = 512  # tokens; a longer prompt is read in several steps, so that it can be stopped in between

TOO_LARGE = "Out of memory while generating: use a shorter prompt or a smaller model."


class Generation:
    """One model writing one continuation. Call `step` until `finished` tells why it ended.

    Times are seconds on the generation's own clock, which runs only inside `step`: when two generations share the
    machine by turns, each is charged what it used. `token_times[i]` is when token i was there, `token_times[0]` the
    time to first token. `rereads` tells that the model carries no state that can be relied on, so that the whole text
    is read again for every token (`models.forward.state`).

    Raises RequestError for a prompt that is too long, or empty where the model has no token to begin a text with, and
    EspalierError if the memory does not suffice.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str | Sequence[int],
        sampling: Sampling,
    ):
        ids = prompt_ids(tokenizer, prompt) if isinstance(prompt, str) else list(prompt) or beginning(tokenizer)
        context = context_length(model.config.get_text_config())
        if len(ids) >= context:
            raise RequestError(
                f"The prompt has {len(ids)} tokens and the model reads at most {context}, answer included: shorten it."
            )
        self._model = model
        self._sampling = sampling
        self._sampler = Sampler(sampling)
        self._stream = TextStream(tokenizer)
        self._stops = StopTexts(sampling.stop)
        with enough_memory(TOO_LARGE):
            self._state = open_state(model)
            whole = len(ids) <= PREFILL_CHUNK or not self._state.reads_pieces()
        self._piece = len(ids) if whole else PREFILL_CHUNK
        self._device = next(model.parameters()).device
        self._waiting = ids
        self._ends = set() if sampling.ignore_end else end_tokens(model, tokenizer)
        self._limit = min(sampling.max_new_tokens, context - len(ids))
        self.rereads = self._state.rereads
        self.prompt_ids = ids
        self.ids: list[int] = []
        self.text = ""
        self.finished: str | None = None  # "end" of text, "stop" text, "length" asked for, "context" full
        self.seconds = 0.0
        self.token_times: list[float] = []

    @torch.inference_mode()
    def step(self) -> None:
        """Does one forward pass: a piece of the prompt, or the next token.

        Raises EspalierError if the model's output is not finite, or the memory does not suffice.
        """
        if self.finished:
            return
        began = time.perf_counter()
        try:
            with enough_memory(TOO_LARGE):
                token = self._forward()
        finally:
            self.seconds += time.perf_counter() - began
        if token is not None:
            self.token_times.append(self.seconds)
            self._take(token)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Does a forward pass of one token that neither counts nor is kept: whoever is first would pay for both."""
        with enough_memory(TOO_LARGE):
            self._model(input_ids=torch.tensor([self.prompt_ids[-1:]], device=self._device), use_cache=False)

    def run(self) -> "Generation":
        """Steps to the end."""
        while not self.finished:
            self.step()
        return self

    def close(self) -> None:
        """Ends the generation and lets go of its state."""
        self.finished = self.finished or "stopped"
        self._finish_text()
        self._state = None

    def _forward(self) -> int | None:
        piece, self._waiting = self._waiting[: self._piece], self._waiting[self._piece :]
        logits = self._state.read(torch.tensor([piece], device=self._device))
        if self._waiting:
            return None
        history = torch.tensor([self.prompt_ids + self.ids], device=self._device)
        token = self._sampler.choose(history, logits)
        if not bool(torch.isfinite(logits.max())):
            raise EspalierError(
                "The model's output is not finite: its weights are damaged, or its dtype is too narrow."
            )
        self._waiting = [token]
        return token

    def _take(self, token: int) -> None:
        self.ids.append(token)
        if token in self._ends:
            self._end("end")
            return
        self._stream.push(token)
        self.text = self._stream.seen
        if (cut := self._stops.find(self.text, len(self._stream.text))) is not None:
            self.text = self.text[:cut]
            self.finished = "stop"
        elif len(self.ids) >= self._limit:
            self._end("length" if self._limit == self._sampling.max_new_tokens else "context")

    def _end(self, reason: str) -> None:
        self.finished = reason
        self._finish_text()

    def _finish_text(self) -> None:
        if self.finished != "stop":
            self._stream.finish()
            self.text = self._stream.text


class StopTexts:
    """Looks for texts that end another one as it grows, each place of it once."""

    def __init__(self, stops: Sequence[str]):
        self._stops = stops
        self._overlap = max(map(len, stops), default=1) - 1
        self._searched = 0

    def find(self, text: str, certain: int) -> int | None:
        """Where the first of them begins, if one is there; what lies before `certain` changes no more."""
        start = max(0, self._searched - self._overlap)
        self._searched = certain
        return min((at for at in (text.find(stop, start) for stop in self._stops) if at >= 0), default=None)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids that end a text: the generation configuration's, and the tokenizer's."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}
