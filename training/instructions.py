"""Fine-tuning examples: reviews and questions in the fixed prompt formats, packed into training windows.

A window holds whole examples, each begun by `<|endoftext|>`; the loss counts the completions in full and the prompts
a little, so that the model goes on modelling the text it reads. Which articles and sentences are kept back for
measuring is decided by a hash of the article's name or the sentence, never by their order.
"""

import random
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from training.formats import SENTIMENT_LABELS, STOP, classification_prompt, completion, question_prompt
from training.loop import Window
from training.sources import QUESTIONS, SENTIMENT, Passage, Review

PROMPT_WEIGHT = 0.1  # of a prompt token in the loss, against 1 of a completion's
HELD_OUT_ARTICLES = 6  # one article in so many is never trained on
HELD_OUT_SENTENCES = 10

Example = list[tuple[str, bool]]  # pieces of text; True where it is a completion


def review_example(review: Review) -> Example:
    """A review and its label word."""
    label = completion(SENTIMENT_LABELS[review.label])
    return [(classification_prompt(review.text), False), (label + STOP, True)]


def passage_example(passage: Passage, generator: random.Random) -> Example:
    """A context with all its questions in random order, each followed by one of its answers.

    Asking several questions of one reading costs a quarter of the tokens; the first stands just as it will be asked.
    """
    pieces: Example = []
    questions = list(passage.questions)
    generator.shuffle(questions)
    for number, (question, answers) in enumerate(questions):
        prompt = question_prompt(passage.context, question)
        if number:
            prompt = prompt[prompt.index(f"{STOP}Question:") + len(STOP) :]
        pieces += [(prompt, False), (completion(generator.choice(answers)) + STOP, True)]
    return pieces


def is_held_out(key: str, one_in: int) -> bool:
    """Whether the article or sentence `key` is kept back for measuring: one in `one_in`, by its CRC-32."""
    return zlib.crc32(key.encode()) % one_in == 0


def reviews(root: Path, held_out: bool = False) -> Iterator[Review]:
    """The reviews of all sentiment sources. SST-2's train split is all for training: its test split is a file apart."""
    for source in SENTIMENT:
        for review in source.open(root):
            kept_back = source.name != "SST-2" and is_held_out(review.text, HELD_OUT_SENTENCES)
            if kept_back == held_out:
                yield review


def passages(root: Path, held_out: bool = False) -> Iterator[Passage]:
    """The passages of all question sources, split by article."""
    for source in QUESTIONS:
        for passage in source.open(root):
            if is_held_out(passage.article, HELD_OUT_ARTICLES) == held_out:
                yield passage


def encode_example(pieces: Example, tokenizer) -> tuple[list[int], list[float]]:
    """Token ids, `<|endoftext|>` first, and the loss weight of each token as a target.

    Each piece is encoded by itself: the boundaries lie before a space or after a newline, where tokens end anyway.
    """
    ids, weights = [tokenizer.bos_token_id], [PROMPT_WEIGHT]
    for text, counts in pieces:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += tokens
        weights += [1.0 if counts else PROMPT_WEIGHT] * len(tokens)
    return ids, weights


def pack(examples: Iterable[tuple[list[int], list[float]]], length: int, pad: int, open_windows: int = 16) -> Iterator[Window]:
    """Windows of `length + 1` ids made of whole examples; what is left over is padding without weight.

    An example goes into the fullest of the `open_windows` that still holds it (best fit); one that is longer than a
    window is cut at its end.
    """
    bins: list[tuple[list[int], list[float]]] = []
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
