"""Choosing the next token: transformers' own logits processors, then Gumbel noise from a generator of the request.

The largest of `logits / temperature + Gumbel noise` is a sample of the softmax, and noise that depends on the seed
alone couples two models: where they see the same text and agree on the odds they choose the same token, so that a
difference between a dense and a pruned model comes from their weights and not from luck.
"""

from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from models.errors import RequestError

COLDEST = 0.0001  # temperature; logits divided by less leave the range of a float
SEEDS = 1 << 64  # what torch's generators take


@dataclass(frozen=True)
class Sampling:
    """How a continuation is chosen. Temperature 0 is greedy; `stop` holds texts that end the continuation."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_end: bool = False  # go on after the end-of-text token: for timing at a fixed length

    def __post_init__(self) -> None:
        checks = (
            (self.max_new_tokens >= 1, "max_new_tokens must be at least 1"),
            (
                self.temperature == 0 or COLDEST <= self.temperature <= 10,
                f"temperature must be 0 (greedy) or from {COLDEST} to 10",
            ),
            (0 < self.top_p <= 1, "top_p must lie above 0 and at most 1"),
            (self.top_k >= 0, "top_k must be 0 (off) or more"),
            (0 <= self.min_p <= 1, "min_p must lie between 0 and 1"),
            (0.01 <= self.repetition_penalty <= 100, "repetition_penalty must be from 0.01 to 100 (1 is off)"),
            (0 <= self.seed < SEEDS, f"seed must be a whole number from 0 to {SEEDS - 1}"),
        )
        for passed, complaint in checks:
            if not passed:
                raise RequestError(f"{complaint}.")


class Sampler:
    """Chooses one token after another for one request."""

    def __init__(self, sampling: Sampling):
        self._greedy = sampling.temperature == 0
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if not self._greedy:
            self._processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_k:
                self._processors.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._processors.append(TopPLogitsWarper(sampling.top_p))
            if sampling.min_p:
                self._processors.append(MinPLogitsWarper(sampling.min_p))

    def choose(self, history: torch.Tensor, logits: torch.Tensor) -> int:
        """The next token id, given all ids so far [1, T] and the last position's logits [1, V]."""
        scores = self._processors(history, logits.float())
        if not self._greedy:
            uniform = torch.rand(scores.shape, generator=self._generator).clamp_(1e-20, 1 - 1e-7)
            scores = scores - (-uniform.log()).log().to(scores.device)
        return int(scores.argmax(-1))
