"""Text that the dense model writes itself."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from models.console.progress import silent
from models.errors import EspalierError
from models.text.prompts import leading_tokens
from pruning.calibration import Request
from pruning.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 16  # continuations written at once


@register("calibration", "self")
class Own:
    """Text sampled from the dense model itself: needs no data, and is in the language the model knows."""

    even = False
    takes_columns = False

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means this source."""
        return name == "self"

    @staticmethod
    def identity(name: str, columns: Sequence[str] | None = None) -> None:
        """None: the model says it all."""

    def documents(self, request: Request) -> Iterator[list[int]]:
        """Documents as token ids, sampled at temperature 1 from what a text begins with, each cut at its end.

        The distribution is the model's own, whatever generation settings its checkpoint brings. Liu et al., "LLM-QAT:
        Data-Free Quantization Aware Training" (2023), section 2.1, sample like this. Raises EspalierError if the
        model's output is not finite.
        """
        from models.decoding import end_tokens

        progress = request.progress or silent
        ends = end_tokens(request.model, request.tokenizer)
        wanted, written = request.samples * request.length, 0
        for attempt in range(4 * -(-request.samples // BATCH)):
            progress(min(written / wanted, 1.0), "Writing calibration text")
            for document in self._write(request, attempt, ends):
                written += len(document)
                yield document
            if written >= wanted:
                return

    @torch.no_grad()
    def _write(self, request: Request, attempt: int, ends: set[int]) -> Iterator[list[int]]:
        model = request.model
        training = model.training
        model.eval()
        device = next(model.parameters()).device
        begin = torch.tensor([_start(request.tokenizer, ends)] * min(BATCH, request.samples), device=device)
        devices = [device] if device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):  # so that the caller's random numbers stay as they were
                torch.manual_seed(request.seed * 1_000_003 + attempt)
                rows = _sampled(model, begin, request.length, ends)
        finally:
            model.train(training)
        for row in rows.tolist():
            stop = next((place for place in range(begin.shape[1], len(row)) if row[place] in ends), len(row))
            if stop > begin.shape[1]:
                yield row[:stop]


def _start(tokenizer: "PreTrainedTokenizerBase", ends: set[int]) -> list[int]:
    """What the tokenizer puts before a text, else its BOS, else a token that ends a text, or the first of all."""
    leading, bos = leading_tokens(tokenizer), tokenizer.bos_token_id
    return leading or [bos if bos is not None else min(ends, default=0)]


def _sampled(model: "PreTrainedModel", begin: torch.Tensor, length: int, ends: set[int]) -> torch.Tensor:
    """Texts [n, up to length] after their beginnings [n, b], sampled until all have ended."""
    from models.forward.state import open_state

    state, read, texts = open_state(model, len(begin)), begin, begin
    over = torch.zeros(len(begin), dtype=torch.bool, device=begin.device)
    ending = torch.tensor(sorted(ends), dtype=begin.dtype, device=begin.device)
    while texts.shape[1] < length and not bool(over.all()):
        odds = state.read(read).float().softmax(-1)
        if not bool(torch.isfinite(odds).all()):
            raise EspalierError(
                "The model's output is not finite: its weights are damaged, or its dtype is too narrow."
            )
        read = torch.multinomial(odds, 1)
        over |= torch.isin(read[:, 0], ending)
        texts = torch.cat([texts, read], dim=1)
    return texts
