"""Scoring by log-likelihood: how likely a model finds each of several continuations of one prompt."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.description import context_length
from models.errors import EspalierError, RequestError
from models.progress import Progress, silent

BATCH_TOKENS = 4096  # tokens of one forward pass, padding included
LOGIT_BYTES = 128 << 20  # what the logits of one forward pass may take
Pair = tuple[list[int], list[int]]  # token ids of a context and of its continuation
LENGTHS = {"none": lambda score: 1, "tokens": lambda score: score.tokens, "characters": lambda score: score.characters}


@dataclass(frozen=True)
class ChoiceScore:
    """One choice after a prompt.

    `log_likelihood` is the sum over its tokens in nats. `characters` counts the choice without the spaces it begins
    with, as lm-evaluation-harness does for `acc_norm`. `dropped` is how many tokens of the prompt's beginning were
    cut off because prompt and choice together are longer than the model's context. `greedy` is whether greedy decoding
    writes just this choice's tokens.
    """

    choice: str
    log_likelihood: float
    tokens: int
    characters: int
    dropped: int = 0
    greedy: bool = False


class PairScore(NamedTuple):
    """log p(continuation | context) in nats, and whether every token of the continuation is the likeliest one."""

    log_likelihood: float
    greedy: bool


def score_choices(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, choices: Sequence[str]
) -> list[ChoiceScore]:
    """The log-likelihood of every choice as the continuation of the prompt, in the order given.

    A choice is scored as written: give `" positive"`, with its space. All choices follow the same prompt tokens: one
    that is too long for the context is cut from the left, as far as the longest choice needs, and every score says so
    (`dropped`). Raises RequestError for no choice, an empty one, or one longer than the context.
    """
    (scores,) = score_prompts(model, tokenizer, [(prompt, choices)])
    return scores


def score_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[str, Sequence[str]]],
    progress: Progress | None = None,
) -> list[list[ChoiceScore]]:
    """`score_choices` for many (prompt, choices) at once, in batches that reach across prompts."""
    room = context_length(model.config.get_text_config())
    special = leading_tokens(tokenizer)
    pairs: list[Pair] = []
    dropped = []
    for prompt, choices in asked:
        fitted, gone = _fitted(_encoded(tokenizer, prompt, choices), room, len(special))
        pairs += fitted
        dropped += [gone] * len(fitted)
    found = zip(pairs, dropped, score_pairs(model, pairs, progress), strict=True)
    return [[_choice_score(choice, *next(found)) for choice in choices] for _, choices in asked]


def _encoded(tokenizer: PreTrainedTokenizerBase, prompt: str, choices: Sequence[str]) -> list[Pair]:
    if not choices:
        raise RequestError("There is no choice to score: give at least one.")
    if blank := [choice for choice in choices if not choice.strip()]:
        raise RequestError(f"The choice {blank[0]!r} is empty: every choice needs a visible character.")
    return [encode_pair(tokenizer, prompt, choice) for choice in choices]


def _fitted(pairs: list[Pair], room: int, special: int) -> tuple[list[Pair], int]:
    """One prompt's pairs cut from the left, behind the `special` first tokens, to what the longest leaves room for."""
    context = pairs[0][0]
    room = room - max(len(tail) for _, tail in pairs) + 1
    if room < special + 1:
        raise RequestError("A choice is longer than the model's context: give a shorter one.")
    dropped = max(0, len(context) - room)
    context = [*context[:special], *context[special + dropped :]]
    return [(context, tail) for _, tail in pairs], dropped


def _choice_score(choice: str, pair: Pair, dropped: int, score: PairScore) -> ChoiceScore:
    return ChoiceScore(choice, score.log_likelihood, len(pair[1]), len(choice.lstrip(" ")), dropped, score.greedy)


def probabilities(scores: Sequence[ChoiceScore], normalise: str = "none") -> list[float]:
    """The choices' probabilities, summing to 1: the softmax of log-likelihood / length.

    The length is 1 (`none`), the choice's tokens or its characters, which takes away the advantage of short choices.
    """
    if normalise not in LENGTHS:
        raise RequestError(f"Unknown normalisation {normalise!r}: use one of {', '.join(LENGTHS)}.")
    values = [score.log_likelihood / LENGTHS[normalise](score) for score in scores]
    weights = [exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, choice: str) -> Pair:
    """Token ids of the prompt, which begin with the tokenizer's special ones, and of the choice after it.

    As lm-evaluation-harness does (`api/model.py`, `_encode_pair`): spaces at the end of the prompt move to the
    choice, the two are encoded together, and the choice's tokens are what follows as many as the prompt has alone.
    """
    body = prompt.rstrip(" ")
    choice = prompt[len(body) :] + choice

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    alone = encode(body) if body else []
    tail = encode(body + choice)[len(alone) :]
    # Where the choice melts wholly into the prompt's last token, it is encoded by itself.
    tail = tail or encode(choice)
    return (leading_tokens(tokenizer) if alone else beginning(tokenizer)) + alone, tail


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens before a text that nothing precedes: the tokenizer's leading ones, else its BOS or EOS.

    Raises RequestError for a tokenizer that has none of them: the first token of a text would have no likelihood.
    """
    known = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
    tokens = leading_tokens(tokenizer) or known[:1]
    if not tokens:
        raise RequestError("The prompt is empty and the model has no token to begin a text with: write something.")
    return tokens


def leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts before a text by default: often one BOS, or none."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    return list(whole[: next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)])


def log_likelihoods(model: PreTrainedModel, pairs: Sequence[Pair], progress: Progress | None = None) -> list[float]:
    """log p(continuation | context) in nats for pairs of token ids; see `score_pairs`."""
    return [score.log_likelihood for score in score_pairs(model, pairs, progress)]


@torch.inference_mode()
def score_pairs(model: PreTrainedModel, pairs: Sequence[Pair], progress: Progress | None = None) -> list[PairScore]:
    """Every continuation after its context, as token ids, neither empty.

    Computed in fp32. Pairs are padded on the right and masked, and those that need the same input (continuations of
    one token after one context) share a row; the values equal those of scoring one by one within rounding. Raises
    RequestError for a pair longer than the model's context, EspalierError on output that is not finite.
    """
    report = progress or silent
    waiting: dict[tuple[int, ...], list[int]] = {}  # a row of input ids, and the pairs that need it
    for at, (context, tail) in enumerate(pairs):
        waiting.setdefault((*context, *tail[:-1]), []).append(at)
    scores = [PairScore(0.0, False)] * len(pairs)
    done = 0
    for rows, first in _batches(waiting, pairs, model):
        owners = [at for row in rows for at in waiting[row]]
        places = [place for place, row in enumerate(rows) for _ in waiting[row]]
        found = _score_batch(_logits(model, rows, first), [pairs[at] for at in owners], places, first)
        for at, score in zip(owners, found, strict=True):
            scores[at] = score
        done += len(rows)
        report(done / len(waiting), f"{done} of {len(waiting)} texts")
    if not all(np.isfinite(score.log_likelihood) for score in scores):
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    return scores


def _batches(
    waiting: dict[tuple[int, ...], list[int]], pairs: Sequence[Pair], model: PreTrainedModel
) -> Iterator[tuple[list[tuple[int, ...]], int]]:
    """Rows of similar length, and the position before which none of them needs logits."""
    config = model.config.get_text_config()
    rows = sorted(waiting, key=lambda row: (-len(row), row))  # the longest first: memory runs out at once or never
    if rows and len(rows[0]) > context_length(config):
        raise RequestError(f"A text is longer than the model's context of {context_length(config)} tokens: shorten it.")
    needed = {row: min(len(pairs[at][0]) for at in owners) - 1 for row, owners in waiting.items()}
    start = 0
    while start < len(rows):
        length = len(rows[start])
        batch = rows[start : start + max(1, BATCH_TOKENS // length)]
        first = min(needed[row] for row in batch)
        batch = batch[: max(1, LOGIT_BYTES // (4 * (length - first) * config.vocab_size))]
        yield batch, first
        start += len(batch)


def _score_batch(logits: torch.Tensor, pairs: list[Pair], places: list[int], first: int) -> list[PairScore]:
    # logits [B, T, V] from position `first` on; pair i is of row places[i]
    owners = np.repeat(np.arange(len(pairs)), [len(tail) for _, tail in pairs])
    columns = np.concatenate([np.arange(len(tail)) + len(context) - 1 - first for context, tail in pairs])
    rows = np.asarray(places)[owners]
    targets = torch.tensor([token for _, tail in pairs for token in tail], device=logits.device)
    index = tuple(torch.from_numpy(axis).to(logits.device) for axis in (rows, columns))
    values = logits[(*index, targets)].float() - logits.float().logsumexp(-1)[index]
    missed = logits.argmax(-1)[index] != targets
    sums, misses = (np.bincount(owners, weights=each.double().cpu().numpy()) for each in (values, missed))
    return [PairScore(float(value), not miss) for value, miss in zip(sums, misses, strict=True)]


def _logits(model: PreTrainedModel, rows: list[tuple[int, ...]], first: int) -> torch.Tensor:
    """The logits [B, T - first, V] of right-padded rows from position `first` on."""
    device = next(model.parameters()).device
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    trims = "logits_to_keep" in inspect.signature(model.forward).parameters
    options = {"logits_to_keep": longest - first} if trims else {}
    try:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        raise EspalierError("Out of memory while scoring: use a shorter prompt or a smaller model.") from error
    return logits[:, -(longest - first) :]
