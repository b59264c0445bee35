"""Prompts and their continuations as token ids."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.errors import RequestError
from models.text.prompts import beginning, leading_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = tuple[list[int], list[int]]  # token ids of a context and of its continuation


def encode_pair(tokenizer: "PreTrainedTokenizerBase", prompt: str, choice: str) -> Pair:
    """Token ids of the prompt, which begin with the tokenizer's special ones, and of the choice after it.

    As lm-evaluation-harness does (`api/model.py`, `_encode_pair`): spaces at the end of the prompt move to the
    choice, the two are encoded together, and the choice's tokens are what follows as many as the prompt has alone.
    """
    return encode_choices(tokenizer, prompt, [choice])[0]


def encode_choices(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, choices: Sequence[str], is_whole: bool = False
) -> list[Pair]:
    """`encode_pair` for several choices of one prompt, which is encoded once.

    is_whole: the prompt holds its special tokens already, as what a chat template writes does.
    """
    body = prompt.rstrip(" ")
    spaces = prompt[len(body) :]
    texts = [*([body] if body else []), *(body + spaces + choice for choice in choices)]
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    alone = encoded.pop(0) if body else []
    start = [] if is_whole else leading_tokens(tokenizer) if alone else beginning(tokenizer)
    tails = [ids[len(alone) :] for ids in encoded]
    # Where the choice melts wholly into the prompt's last token, it is encoded by itself.
    tails = [
        tail or tokenizer(spaces + choice, add_special_tokens=False, verbose=False)["input_ids"]
        for tail, choice in zip(tails, choices, strict=True)
    ]
    return [([*start, *alone], tail) for tail in tails]


def fitted(pairs: list[Pair], room: int, special: int) -> tuple[list[Pair], int]:
    """One prompt's pairs cut from the left, behind the `special` first tokens, to what the longest leaves room for.

    Returns them and how many tokens were dropped. RequestError for a choice that is longer than the room.
    """
    context = pairs[0][0]
    room = room - max(len(tail) for _, tail in pairs) + 1
    if room < special + 1:
        raise RequestError("A choice is longer than the model's context: give a shorter one.")
    dropped = max(0, len(context) - room)
    context = [*context[:special], *context[special + dropped :]]
    return [(context, tail) for _, tail in pairs], dropped
