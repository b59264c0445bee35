"""Decoding one continuation step by step, so that a caller may pause it, time it, stop it, or interleave two.

`model.generate` cannot be paused between tokens without a thread of its own; this loop is the model's forward with
transformers' own cache and logits processors, one call of `step` at a time.
"""

import inspect
import time
from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from models.description import context_length
from models.errors import EspalierError, RequestError
from models.sampling import Sampler, Sampling

PREFILL_CHUNK = 512  # tokens; a longer prompt is read in several steps, so that it can be stopped in between


class TextStream:
    """Turns token ids into text as they come, holding back what is not yet a whole character."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._pending: list[int] = []  # ids not yet turned into settled text, after one settled id for its spacing
        self._settled_ids = 0
        self.text = ""

    def push(self, token: int) -> str:
        """Takes one more id; returns the text that became certain, often one token's, sometimes none."""
        self._pending.append(token)
        whole = self._decode(self._pending)
        if whole.endswith("\ufffd"):
            return ""
        return self._settle(whole)

    def finish(self) -> str:
        """Returns what was held back, whole or not."""
        return self._settle(self._decode(self._pending)) if len(self._pending) > self._settled_ids else ""

    def _settle(self, whole: str) -> str:
        new = whole[len(self._decode(self._pending[: self._settled_ids])) :]
        # The last few settled ids stay, because some tokenizers drop or add a space by what stands before.
        self._pending = self._pending[-4:]
        self._settled_ids = len(self._pending)
        self.text += new
        return new

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) if ids else ""


class Generation:
    """One model writing one continuation. Call `step` until `finished` tells why it ended.

    Times are seconds on the generation's own clock, which runs only inside `step`: when two generations share the
    machine by turns, each is charged what it used. `token_times[i]` is when token i was there, `token_times[0]` the
    time to first token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str | Sequence[int],
        sampling: Sampling,
    ):
        ids = list(tokenizer(prompt)["input_ids"]) if isinstance(prompt, str) else list(prompt)
        ids = ids or [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None][:1]
        if not ids:
            raise RequestError("The prompt is empty and the model has no token to begin a text with: write something.")
        context = context_length(model.config.get_text_config())
        if len(ids) >= context:
            raise RequestError(
                f"The prompt has {len(ids)} tokens and the model reads at most {context}, answer included: shorten it."
            )
        self._model = model
        self._sampling = sampling
        self._sampler = Sampler(sampling)
        self._stream = TextStream(tokenizer)
        self._cache = DynamicCache(config=model.config)
        self._device = next(model.parameters()).device
        self._waiting = ids
        self._ends = set() if sampling.ignore_end else end_tokens(model, tokenizer)
        self._limit = min(sampling.max_new_tokens, context - len(ids))
        self._only_last = "logits_to_keep" in inspect.signature(model.forward).parameters
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
            token = self._forward()
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            raise EspalierError("Out of memory while generating: use a shorter prompt or a smaller model.") from error
        finally:
            self.seconds += time.perf_counter() - began
        if token is not None:
            self.token_times.append(self.seconds)
            self._take(token)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Does a forward pass of one token that neither counts nor is kept: whoever is first would pay for both."""
        self._model(input_ids=torch.tensor([self.prompt_ids[-1:]], device=self._device), use_cache=False)

    def run(self) -> "Generation":
        """Steps to the end."""
        while not self.finished:
            self.step()
        return self

    def close(self) -> None:
        """Ends the generation and lets go of its cache."""
        self.finished = self.finished or "stopped"
        self._finish_text()
        self._cache = None

    def _forward(self) -> int | None:
        piece, self._waiting = self._waiting[:PREFILL_CHUNK], self._waiting[PREFILL_CHUNK:]
        options = {"logits_to_keep": 1} if self._only_last else {}
        ids = torch.tensor([piece], device=self._device)
        logits = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, **options).logits[:, -1]
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
        self.text = self._stream.text
        cuts = [at for at in (self.text.find(stop) for stop in self._sampling.stop) if at >= 0]
        if cuts:
            self.text = self.text[: min(cuts)]
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


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids that end a text: the generation configuration's, and the tokenizer's."""
    configured = model.generation_config.eos_token_id if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in (*ids, tokenizer.eos_token_id) if token is not None}
