"""Writing greedily after many prompts at once: what `models.decoding.Generation` does for one, in batches.

transformers' own `generate` does the work. Prompts of similar length share a batch, padded on the left and masked. In
fp32 the texts are those that each prompt gets alone; in a narrower dtype the rounding depends on the batch, and a near
tie may fall the other way.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from evals.asking.encoding import beginning, leading_tokens
from models.decoding import TextStream, end_tokens
from models.description import context_length
from models.errors import EspalierError, RequestError
from models.progress import Progress, silent
from models.quiet import quiet_transformers

BATCH_TOKENS = 8192  # of a batch, prompts, padding and what is written included: the key-value cache grows with them
BATCH_ROWS = 128
LOGIT_BYTES = 256 << 20  # what a prompt's logits may take where the model cannot leave out all but the last


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
    done = 0
    for batch in _batches(model, [len(ids) for ids in encoded], max_new_tokens):
        rows = [_Row(tokenizer, ends, stop, max_new_tokens) for _ in batch]

        def between(share: float, done: int = done, size: int = len(batch)) -> None:
            report((done + share * size) / len(prompts), f"{done} of {len(prompts)} answers")

        _write_batch(model, [encoded[at] for at in batch], _Watch(rows, max_new_tokens, between))
        done += len(batch)
        yield from ((at, row.written(dropped[at])) for at, row in zip(batch, rows, strict=True))
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
    encoded = [list(tokenizer(prompt, verbose=False)["input_ids"]) or beginning(tokenizer) for prompt in prompts]
    dropped = [max(0, len(ids) - room) for ids in encoded]
    return [[*ids[:special], *ids[special + cut :]] for ids, cut in zip(encoded, dropped, strict=True)], dropped


def _batches(model: PreTrainedModel, lengths: Sequence[int], max_new_tokens: int) -> Iterator[list[int]]:
    """Indices of prompts of similar length; the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lambda at: (-lengths[at], at))
    trims = "logits_to_keep" in inspect.signature(model.forward).parameters
    while order:
        longest = lengths[order[0]]
        size = min(BATCH_ROWS, BATCH_TOKENS // (longest + max_new_tokens))
        if not trims:
            size = min(size, LOGIT_BYTES // (4 * longest * model.config.get_text_config().vocab_size))
        batch, order = order[: max(1, size)], order[max(1, size) :]
        yield batch


@torch.inference_mode()
def _write_batch(model: PreTrainedModel, prompts: list[list[int]], watch: "_Watch") -> None:
    device = next(model.parameters()).device
    longest = max(len(ids) for ids in prompts)
    ids = torch.tensor([[*[0] * (longest - len(ids)), *ids] for ids in prompts], device=device)
    mask = torch.tensor([[*[0] * (longest - len(ids)), *[1] * len(ids)] for ids in prompts], device=device)
    try:
        with quiet_transformers(), _plain_settings(model, watch.most) as settings:
            model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=LogitsProcessorList([_Finite()]),
                stopping_criteria=StoppingCriteriaList([watch]),
            )
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise EspalierError("Out of memory while writing: use shorter prompts or a smaller model.") from error


@contextmanager
def _plain_settings(model: PreTrainedModel, max_new_tokens: int) -> Iterator[GenerationConfig]:
    """Greedy settings. `generate` fills what they leave open from the model's own (a repetition penalty, tokens that
    are forced or suppressed), so these are put aside for the while. Ends of text are the watch's business."""
    settings = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, pad_token_id=0)
    own, model.generation_config = model.generation_config, settings
    try:
        yield settings
    finally:
        model.generation_config = own


class _Row:
    """One prompt's text as it comes, ended as `models.decoding.Generation` ends it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: set[int], stop: Sequence[str], most: int):
        self._stream = TextStream(tokenizer)
        self._ends, self._stop, self._most = ends, stop, most
        self._tokens = 0
        self._text = ""
        self.finished: str | None = None

    def take(self, token: int) -> None:
        """Takes the next token, unless the text has ended."""
        if self.finished:
            return
        self._tokens += 1
        if token in self._ends:
            self.finished = "end"
        elif self._stream.push(token) and (cuts := [at for at in map(self._stream.text.find, self._stop) if at >= 0]):
            self._text, self.finished = self._stream.text[: min(cuts)], "stop"
            return
        elif self._tokens >= self._most:
            self.finished = "length"
        if self.finished:
            self._stream.finish()
            self._text = self._stream.text

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
