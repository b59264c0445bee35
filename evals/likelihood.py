"""Scoring by log-likelihood: how likely a model finds each of several continuations of one prompt."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.description import context_length
from models.errors import EspalierError, RequestError

BATCH_TOKENS = 4096  # tokens of one forward pass, padding included
LOGIT_BYTES = 128 << 20  # what the logits of one forward pass may take
LENGTHS = {"none": lambda score: 1, "tokens": lambda score: score.tokens, "characters": lambda score: score.characters}


@dataclass(frozen=True)
class ChoiceScore:
    """One choice after a prompt.

    `log_likelihood` is the sum over its tokens in nats. `characters` counts the choice without the spaces it begins
    with, as lm-evaluation-harness does for `acc_norm`. `dropped` is how many tokens of the prompt's beginning were
    cut off because prompt and choice together are longer than the model's context.
    """

    choice: str
    log_likelihood: float
    tokens: int
    characters: int
    dropped: int = 0


def score_choices(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, choices: Sequence[str]
) -> list[ChoiceScore]:
    """The log-likelihood of every choice as the continuation of the prompt, in the order given.

    A choice is scored as written: give `" positive"`, with its space. All choices follow the same prompt tokens: one
    that is too long for the context is cut from the left, as far as the longest choice needs, and every score says so
    (`dropped`). Raises RequestError for no choice, an empty one, or one longer than the context.
    """
    if not choices:
        raise RequestError("There is no choice to score: give at least one.")
    if blank := [choice for choice in choices if not choice.strip()]:
        raise RequestError(f"The choice {blank[0]!r} is empty: every choice needs a visible character.")
    encoded = [encode_pair(tokenizer, prompt, choice) for choice in choices]
    context, tails = encoded[0][0], [tail for _, tail in encoded]
    start = leading_tokens(tokenizer)
    room = context_length(model.config.get_text_config()) - max(len(tail) for tail in tails) + 1
    if room < len(start) + 1:
        raise RequestError("A choice is longer than the model's context: give a shorter one.")
    dropped = max(0, len(context) - room)
    if dropped:
        context = [*start, *context[len(start) + dropped :]]
    sums = log_likelihoods(model, [(context, tail) for tail in tails])
    return [
        ChoiceScore(choice, value, len(tail), len(choice.lstrip(" ")), dropped)
        for choice, value, tail in zip(choices, sums, tails, strict=True)
    ]


def probabilities(scores: Sequence[ChoiceScore], normalise: str = "none") -> list[float]:
    """The choices' probabilities, summing to 1: the softmax of log-likelihood / length.

    The length is 1 (`none`), the choice's tokens or its characters, which takes away the advantage of short choices.
    """
    if normalise not in LENGTHS:
        raise RequestError(f"Unknown normalisation {normalise!r}: use one of {', '.join(LENGTHS)}.")
    values = [score.log_likelihood / LENGTHS[normalise](score) for score in scores]
    weights = [exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, choice: str) -> tuple[list[int], list[int]]:
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
    start = leading_tokens(tokenizer)
    if not start and not alone:
        start = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None][:1]
        if not start:
            raise RequestError("The prompt is empty and the model has no token to begin a text with: write something.")
    return start + alone, tail


def leading_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts before a text by default: often one BOS, or none."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    return list(whole[: next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)])


@torch.inference_mode()
def log_likelihoods(model: PreTrainedModel, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """log p(continuation | context) in nats for pairs of token ids (context, continuation), neither empty.

    Computed in fp32. Pairs are padded on the right and masked, and those that need the same input (continuations of
    one token after one context) share a row; the values equal those of scoring one by one within rounding.
    """
    device = next(model.parameters()).device
    inputs = [tuple(context + tail[:-1]) for context, tail in pairs]
    rows = sorted(set(inputs), key=lambda row: (-len(row), row))  # the longest first: memory runs out at once or never
    values = [0.0] * len(pairs)
    # No row needs logits before the shortest context's end, so this many positions of each row at most.
    positions = len(rows[0]) - min(len(context) for context, _ in pairs) + 1
    row_bytes = 4 * positions * model.config.get_text_config().vocab_size
    size = max(1, min(BATCH_TOKENS // len(rows[0]), LOGIT_BYTES // row_bytes))
    for start in range(0, len(rows), size):
        batch = {row: place for place, row in enumerate(rows[start : start + size])}
        first = min(len(context) for (context, _), row in zip(pairs, inputs, strict=True) if row in batch) - 1
        logits = _logits(model, list(batch), first, device)
        for at, ((context, tail), row) in enumerate(zip(pairs, inputs, strict=True)):
            if row in batch:
                begin = len(context) - 1 - first
                scores = logits[batch[row], begin : begin + len(tail)].float().log_softmax(-1)
                values[at] = float(scores.gather(1, torch.tensor(tail, device=device)[:, None]).double().sum())
    if not all(value == value and value > float("-inf") for value in values):
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    return values


def _logits(model: PreTrainedModel, rows: list[tuple[int, ...]], first: int, device: torch.device) -> torch.Tensor:
    """The logits [B, T - first, V] of right-padded rows from position `first` on."""
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
