"""Examples as training windows: encoded, each token with its weight in the loss, whole examples packed together.

A window holds whole examples, each begun by `<|endoftext|>`; the loss counts the completions in full and the prompts
a little, so that the model goes on modelling the text it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from training.instructions import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from training.loop import Window

PROMPT_WEIGHT = 0.1  # of a prompt token in the loss, against 1 of a completion's
Encoded = tuple[list[int], list[float]]  # token ids, and the weight of each as a target


def encode_example(
    pieces: Example, tokenizer: PreTrainedTokenizerBase, prompt_weight: float = PROMPT_WEIGHT
) -> Encoded:
    """Token ids, `<|endoftext|>` first, and the loss weight of each token as a target: 1 in a completion.

    Each piece is encoded by itself: the boundaries lie before a space or after a newline, where tokens end anyway.
    """
    ids, weights = [tokenizer.bos_token_id], [prompt_weight]
    for text, counts in pieces:
        tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids += tokens
        weights += [1.0 if counts else prompt_weight] * len(tokens)
    return ids, weights


def pack(examples: Iterable[Encoded], length: int, pad: int, open_windows: int = 16) -> Iterator[Window]:
    """Windows of `length + 1` ids made of whole examples; what is left over is padding without weight.

    An example goes into the fullest of the `open_windows` that still holds it (best fit); one that is longer than a
    window is cut at its end.
    """
    bins: list[Encoded] = []
    for ids, weights in examples:
        fitting = [window for window in bins if len(window[0]) + len(ids) <= length + 1]
        if fitting:
            best = max(fitting, key=lambda window: len(window[0]))
        else:
            if len(bins) == open_windows:
                fullest = max(range(open_windows), key=lambda index: len(bins[index][0]))
                yield _window(*bins.pop(fullest), length, pad)
            best = ([], [])
            bins.append(best)
        best[0].extend(ids)
        best[1].extend(weights)
    yield from (_window(*window, length, pad) for window in bins)


def _window(ids: list[int], weights: list[float], length: int, pad: int) -> Window:
    size = length + 1
    missing = max(size - len(ids), 0)
    full_ids = np.array(ids[:size] + [pad] * missing, dtype=np.int64)
    full_weights = np.array(weights[:size] + [0.0] * missing, dtype=np.float32)
    return full_ids, full_weights[1:]
