"""Scoring by log-likelihood: how likely a model finds each of several continuations of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from evals.asking.branches import Row, batches, can_branch, logits_of, rows_of
from evals.asking.encoding import Pair, encode_choices, fitted
from models.console.progress import Progress, silent
from models.description import context_length
from models.errors import EspalierError, RequestError
from models.text.prompts import leading_tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LENGTHS = {
    "none": lambda score: 1,
    "tokens": lambda score: score.tokens,
    "characters": lambda score: score.characters,
    "bytes": lambda score: score.bytes,
}
DEVIATION = {
    torch.float32: 1e-3,
    torch.float64: 1e-6,
}  # nats a token that branches may differ by; wider for half floats
HALF_DEVIATION = 0.1


@dataclass(frozen=True)
class ChoiceScore:
    """One choice after a prompt.

    `log_likelihood` is the sum over its tokens in nats. `characters` and `bytes` count the choice without the spaces it
    begins with, as lm-evaluation-harness does for `acc_norm`. `dropped` is how many tokens of the prompt's beginning
    were left out because the context is too short. `greedy` tells whether each token is the likeliest one, so that
    greedy decoding writes just this choice's tokens.
    """

    choice: str
    log_likelihood: float
    tokens: int
    dropped: int = 0
    greedy: bool = False

    @property
    def characters(self) -> int:
        """Characters of the choice without the spaces it begins with."""
        return len(self.choice.lstrip(" "))

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the choice without the spaces it begins with."""
        return len(self.choice.lstrip(" ").encode())


class PairScore(NamedTuple):
    """log p(continuation | context) in nats, and whether every token of the continuation is the likeliest one."""

    log_likelihood: float
    greedy: bool


class Asked(NamedTuple):
    """Prompts with their choices as token ids: `pairs`, one after the other, and what was `dropped` for each pair."""

    prompts: list[tuple[str, Sequence[str]]]
    pairs: list[Pair]
    dropped: list[int]

    def scores(self, found: Sequence[PairScore]) -> list[list[ChoiceScore]]:
        """The pairs' scores as those of the choices of every prompt."""
        each = zip(self.pairs, self.dropped, found, strict=True)
        return [[self._score(choice, *next(each)) for choice in choices] for _, choices in self.prompts]

    @staticmethod
    def _score(choice: str, pair: Pair, dropped: int, score: PairScore) -> ChoiceScore:
        return ChoiceScore(choice, score.log_likelihood, len(pair[1]), dropped, score.greedy)


def score_choices(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, choices: Sequence[str]
) -> list[ChoiceScore]:
    """The log-likelihood of every choice as the continuation of the prompt, in the order given.

    A choice is scored as written: give `" positive"`, with its space. All choices follow the same prompt tokens: one
    that is too long for the context is cut from the left, as far as the longest choice needs, and every score says so
    (`dropped`). Raises RequestError for no choice, an empty one, or one longer than the context.
    """
    (scores,) = score_prompts(model, tokenizer, [(prompt, choices)])
    return scores


def score_prompts(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    asked: Sequence[tuple[str, Sequence[str]]],
    progress: Progress | None = None,
) -> list[list[ChoiceScore]]:
    """`score_choices` for many (prompt, choices) at once, in batches that reach across prompts."""
    encoded = encode(tokenizer, asked, context_length(model.config.get_text_config()))
    return encoded.scores(score_pairs(model, encoded.pairs, progress))


def encode(tokenizer: "PreTrainedTokenizerBase", asked: Sequence[tuple[str, Sequence[str]]], room: int) -> Asked:
    """Prompts and choices as token ids, contexts cut to the `room` of tokens. RequestError as `score_choices`."""
    special = len(leading_tokens(tokenizer))
    pairs: list[Pair] = []
    dropped: list[int] = []
    for prompt, choices in asked:
        if not choices:
            raise RequestError("There is no choice to score: give at least one.")
        if blank := [choice for choice in choices if not choice.strip()]:
            raise RequestError(f"The choice {blank[0]!r} is empty: every choice needs a visible character.")
        cut, gone = fitted(encode_choices(tokenizer, prompt, choices), room, special)
        pairs += cut
        dropped += [gone] * len(cut)
    return Asked(list(asked), pairs, dropped)


def probabilities(scores: Sequence[ChoiceScore], normalise: str = "none") -> list[float]:
    """The choices' probabilities, summing to 1: the softmax of log-likelihood / length.

    The length is 1 (`none`), the choice's tokens, characters or bytes, which takes away the advantage of short choices.
    """
    if normalise not in LENGTHS:
        raise RequestError(f"Unknown normalisation {normalise!r}: use one of {', '.join(LENGTHS)}.")
    values = [score.log_likelihood / LENGTHS[normalise](score) for score in scores]
    weights = [exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def log_likelihoods(model: "PreTrainedModel", pairs: Sequence[Pair], progress: Progress | None = None) -> list[float]:
    """log p(continuation | context) in nats for pairs of token ids; see `score_pairs`."""
    return [score.log_likelihood for score in score_pairs(model, pairs, progress)]


def score_pairs(
    model: "PreTrainedModel", pairs: Sequence[Pair], progress: Progress | None = None, packed: bool | None = None
) -> list[PairScore]:
    """Every continuation after its context, as token ids, neither empty.

    Computed in fp32. Continuations of one context share its row where that is `packed` (by default where the model can
    read it so); the values equal those of scoring one by one within rounding. Raises RequestError for a pair longer
    than the model's context or a model that is not causal, EspalierError on output that is not finite.
    """
    report = progress or silent
    packed = packs(model, pairs) if packed is None else packed
    scores = [PairScore(0.0, False)] * len(pairs)
    done = 0
    for batch in plan(pairs, packed, model.config.get_text_config()):
        for at, score in score_batch(model, batch, pairs):
            scores[at] = score
            done += 1
        report(done / len(pairs), f"{done} of {len(pairs)} continuations")
    return scores


def plan(pairs: Sequence[Pair], packed: bool, config: "PretrainedConfig") -> list[list[Row]]:
    """The batches in which pairs are scored: the same for the same pairs, so that a resumed run rounds alike."""
    return list(batches(rows_of(pairs, packed, context_length(config)), config))


@torch.inference_mode()
def score_batch(model: "PreTrainedModel", rows: Sequence[Row], pairs: Sequence[Pair]) -> list[tuple[int, PairScore]]:
    """The numbers and scores of the pairs that the rows answer. EspalierError on output that is not finite."""
    logits, first = logits_of(model, rows)
    members = [
        (line, at, places) for line, row in enumerate(rows) for at, places in zip(row.pairs, row.wanted, strict=True)
    ]
    owners = np.repeat(np.arange(len(members)), [len(places) for _, _, places in members])
    lines = np.asarray([line for line, _, _ in members])[owners]
    columns = np.concatenate([np.asarray(places) for _, _, places in members]) - first
    targets = torch.tensor([token for _, at, _ in members for token in pairs[at][1]], device=logits.device)
    index = tuple(torch.from_numpy(axis).to(logits.device) for axis in (lines, columns))
    wanted = logits[index].float()  # [tokens, V]: other places are widened for nothing
    values = wanted.gather(1, targets[:, None])[:, 0] - wanted.logsumexp(-1)
    missed = wanted.argmax(-1) != targets
    sums, misses = (np.bincount(owners, weights=each.double().cpu().numpy()) for each in (values, missed))
    if not np.isfinite(sums).all():
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    scores = [PairScore(float(value), not miss) for value, miss in zip(sums, misses, strict=True)]
    return [(at, score) for (_, at, _), score in zip(members, scores, strict=True)]


def packs(model: "PreTrainedModel", pairs: Sequence[Pair]) -> bool:
    """Whether these pairs are scored as branches: some share a context, and the model reads branches as it should.

    That is not only read off its configuration but tried on the first context with two branches: a family that
    answers otherwise, or whose forward refuses the branches, is asked one by one.
    """
    rows = rows_of(pairs, True, context_length(model.config.get_text_config()))
    trees = [row for row in rows if row.is_tree]
    if not trees or not can_branch(model, max(len(row.ids) for row in trees)):
        return False
    tried = [pairs[at] for at in min(trees, key=lambda row: len(row.ids)).pairs]
    try:
        together = score_pairs(model, tried, packed=True)
    except EspalierError:
        raise
    except Exception:  # what a family says to a mask of four dimensions, or to places, differs from one to the next
        return False
    apart = score_pairs(model, tried, packed=False)
    allowed = DEVIATION.get(model.dtype, HALF_DEVIATION)
    return all(
        abs(one.log_likelihood - other.log_likelihood) <= allowed * len(tail)
        for one, other, (_, tail) in zip(together, apart, tried, strict=True)
    )
