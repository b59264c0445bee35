"""Writing greedily after many prompts at once: what `models.decoding.Generation` does for one, in batches.

transformers' own `generate` does the work where a model takes batches (`evals.asking.batching`): prompts of similar
length share one, padded on the left and masked. In fp32 the texts are those that each prompt gets alone; in a narrower
dtype the rounding depends on the batch, and a near tie may fall the other way. Other models write one by one.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from evals.asking.batching import padded, takes_batches
from models.console.out_of_memory import enough_memory
from models.console.progress import Progress, silent
from models.console.quiet import quiet_transformers
from models.decoding import Generation, StopTexts, end_tokens
from models.description import context_length
from models.errors import EspalierError, RequestError
from models.forward.plain_generation import plain_settings
from models.sampling import Sampling
from models.text.prompts import leading_tokens, prompt_ids
from models.text.text_stream import TextStream

BATCH_TOKENS = 8192  # of a batch, prompts, padding and what is written included: the key-value cache grows with them
BATCH_ROWS = 128
LOGIT_BYTES = 256 << 20  # what a prompt's logits may take where the model cannot leave out all but the last

TOO_LARGE = "Out of memory while writing: use shorter prompts or a smaller model."


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt.

    `text` ends before the first stop string. `tokens` counts all that were written, the end-of-text token too, and
    `finished` says why they ended: "end" of text, "stop" or "length". `dropped` is how many tokens of the prompt's
    beginning were cut off because the prompt and the most that may be written are longer than the model's context.
    """

    text: str
    tokens: int
    finished: str
    dropped: int = 0


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    progress: Progress | None = None,
) -> Iterator[tuple[int, Written]]:
    """Yields `(index of the prompt, what was written)` for all prompts, a finished batch at a time, the longest first.

    Whatever the model's own generation settings are, the likeliest token is taken, up to `max_new_tokens`. A prompt
    that leaves no room for so many is cut from the left, behind the tokenizer's leading special tokens. Raises
    RequestError if nothing is to be written, or the context has no room for it beside a prompt, and EspalierError
    if memory runs out or the model's output is not finite.
    """
    report = progress or silent
    encoded, dropped = _encoded(model, tokenizer, prompts, max_new_tokens)
    ends = end_tokens(model, tokenizer)
    with enough_memory(TOO_LARGE):
        together = len(prompts) > 0 and takes_batches(model)
    lengths = [len(ids) for ids in encoded]
    done = 0
    for batch in _batches(model, lengths, max_new_tokens, BATCH_ROWS if together else 1):

        def between(share: float, done: int = done, size: int = len(batch)) -> None:
            way = "" if together else ", one by one: this model takes no batches"
            report((done + share * size) / len(prompts), f"{done} of {len(prompts)} answers{way}")

        if together:
            rows = [_Row(tokenizer, ends, stop, max_new_tokens) for _ in batch]
            _write_batch(model, [encoded[at] for at in batch], _Watch(rows, max_new_tokens, between))
            written = [row.written(dropped[at]) for at, row in zip(batch, rows, strict=True)]
        else:
            sampling = Sampling(max_new_tokens, stop=tuple(stop))
            generations = [Generation(model, tokenizer, encoded[at], sampling) for at in batch]
            written = [_written_alone(one, dropped[at], between) for at, one in zip(batch, generations, strict=True)]
        done += len(batch)
        yield from zip(batch, written, strict=True)
    report(1.0, f"{done} of {len(prompts)} answers")


def _encoded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_new_tokens: int
) -> tuple[list[list[int]], list[int]]:
    """The prompts as token ids that leave room, and how many tokens each lost."""
    if max_new_tokens < 1:
        raise RequestError("max_new_tokens must be at least 1.")
    context = context_length(model.config.get_text_config())
    special = len(leading_tokens(tokenizer))
    room = context - max_new_tokens
    if room < special + 1:
        raise RequestError(
            f"The model reads at most {context} tokens, and {max_new_tokens} are to be written: "
            "that leaves no room for a prompt; write fewer."
        )
    encoded = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    dropped = [max(0, len(ids) - room) for ids in encoded]
    return [[*ids[:special], *ids[special + cut :]] for ids, cut in zip(encoded, dropped, strict=True)], dropped


def _batches(
    model: PreTrainedModel, lengths: Sequence[int], max_new_tokens: int, most: int = BATCH_ROWS
) -> Iterator[list[int]]:
    """Indices of prompts of similar length; the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    trims = "logits_to_keep" in inspect.signature(model.forward).parameters
    while order:
        longest = lengths[order[0]]
        size = min(most, BATCH_TOKENS // (longest + max_new_tokens))
        if not trims:
            size = min(size, LOGIT_BYTES // (4 * longest * model.config.get_text_config().vocab_size))
        batch, order = order[: max(1, size)], order[max(1, size) :]
        yield batch


@torch.inference_mode()
def _write_batch(model: PreTrainedModel, prompts: list[list[int]], watch: "_Watch") -> None:
    ids, mask = padded(prompts, next(model.parameters()).device)
    with enough_memory(TOO_LARGE), quiet_transformers(), plain_settings(model, max_new_tokens=watch.most) as settings:
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Finite()]),
            stopping_criteria=StoppingCriteriaList([watch]),
        )


def _written_alone(generation: Generation, dropped: int, between: Callable[[float], None]) -> Written:
    while not generation.finished:
        generation.step()
        between(len(generation.ids) / (len(generation.ids) + 1))
    return Written(generation.text, len(generation.ids), generation.finished, dropped)


class _Row:
    """One prompt's text as it comes, ended as `models.decoding.Generation` ends it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: set[int], stop: Sequence[str], most: int):
        self._stream = TextStream(tokenizer)
        self._stops = StopTexts(stop)
        self._ends, self._most = ends, most
        self._tokens = 0
        self._text = ""
        self.finished: str | None = None

    def take(self, token: int) -> None:
        """Takes the next token, unless the text has ended."""
        if self.finished:
            return
        self._tokens += 1
        if token in self._ends:
            self._end("end")
            return
        self._stream.push(token)
        seen = self._stream.seen
        if (cut := self._stops.find(seen, len(self._stream.text))) is not None:
            self._text, self.finished = seen[:cut], "stop"
        elif self._tokens >= self._most:
            self._end("length")

    def _end(self, reason: str) -> None:
        self._stream.finish()
        self._text, self.finished = self._stream.text, reason

    def written(self, dropped: int) -> Written:
        """What there is now."""
        return Written(self._text, self._tokens, self.finished or "length", dropped)


class _Watch(StoppingCriteria):
    """Hands every row its next token, and says which rows have ended."""

    def __init__(self, rows: list[_Row], most: int, between):
        self.rows, self.most = rows, most
        self._between = between
        self._steps = 0

    def __call__(self, input_ids: torch.Tensor, scores, **options) -> torch.Tensor:
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            row.take(token)
        self._steps += 1
        self._between(self._steps / self.most)
        return torch.tensor([row.finished is not None for row in self.rows], device=input_ids.device)


class _Finite(LogitsProcessor):
    """Raises EspalierError where the likeliest token's logit is no number."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(scores.amax(-1)).all()):
            raise EspalierError("The model's output is not finite: its weights are damaged or its dtype too narrow.")
        return scores
