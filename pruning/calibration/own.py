"""Text that the dense model writes itself."""

from collections.abc import Iterator

import torch

from models.progress import silent
from pruning.calibration import Request
from pruning.registry import register

BATCH = 16  # continuations written at once


@register("calibration", "self")
class Own:
    """Text sampled from the dense model itself: needs no data, and is in the language the model knows."""

    @staticmethod
    def accepts(name: str) -> bool:
        """Whether `name` means this source."""
        return name == "self"

    def documents(self, request: Request) -> Iterator[list[int]]:
        """Documents as token ids, sampled at temperature 1 from the begin-of-text token, each cut at its end.

        Liu et al., "LLM-QAT: Data-Free Quantization Aware Training" (2023), section 2.1, sample like this.
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
        model, tokenizer = request.model, request.tokenizer
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else min(ends, default=0)
        prompts = torch.full((min(BATCH, request.samples), 1), begin, device=next(model.parameters()).device)
        training = model.training
        model.eval()
        devices = [prompts.device] if prompts.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # so that the caller's random numbers stay as they were
            torch.manual_seed(request.seed * 1_000_003 + attempt)
            rows = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=request.length - 1,
                pad_token_id=begin,
            )
        model.train(training)
        for row in rows.tolist():
            stop = next((place for place, token in enumerate(row) if place and token in ends), len(row))
            if stop > 1:
                yield row[:stop]
