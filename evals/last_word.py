"""The last word of a passage: whether a model writes it, and how much it surprises it.

LAMBADA (Paperno et al. 2016) as lm-evaluation-harness measures it (`lambada_openai`): the passage is cut at its last
space; the context is what stands before, the target that space and the word, and

    accuracy   = the share of passages in which each token of the target is the likeliest one (greedy exact match)
    perplexity = exp(-mean over passages of log p(target | context))

so that perplexity is of a word, not of a token, and compares models with any tokenizer. The context follows the
special tokens that the tokenizer puts before a text.
"""

import json
from collections.abc import Sequence
from math import exp
from pathlib import Path

import numpy as np

from evals import statistics
from evals.likelihood import score_prompts
from evals.measurement import Measurement
from models.errors import RequestError
from models.loading import Loaded
from models.progress import Progress
from training.sources import open_text

LARGEST_LOG = 700.0  # nats; exp of little more is not a finite float


def read_lambada(path: Path) -> list[str]:
    """The passages of a JSON-lines file with a field `text`, plain or compressed."""
    with open_text(path) as file:
        return [json.loads(line)["text"] for line in file]


def cut(passage: str) -> tuple[str, str]:
    """What stands before the last word, and the last word with its space. RequestError for a passage of one word."""
    context, space, word = passage.rpartition(" ")
    if not context.strip() or not word:
        raise RequestError(f"The passage {passage!r} has no last word after a space: check the file.")
    return context, space + word


def last_word(loaded: Loaded, passages: Sequence[str], progress: Progress | None = None) -> list[Measurement]:
    """`[accuracy, perplexity]` of the last words, each with its 95 % interval.

    A context too long for the model is cut from the left; the protocol says how many were (`contexts_cut`). Raises
    RequestError if there is no passage, or one has no last word.
    """
    if not passages:
        raise RequestError("There is no passage to score: check the file.")
    asked = [(context, [word]) for context, word in map(cut, passages)]
    scores = [score for (score,) in score_prompts(loaded.model, loaded.tokenizer, asked, progress)]
    protocol = {"name": "lambada_openai", "contexts_cut": sum(score.dropped > 0 for score in scores)}
    right = statistics.mean(np.array([score.greedy for score in scores]))
    nats = statistics.mean(np.array([-score.log_likelihood for score in scores]))
    value = exp(min(nats.value, LARGEST_LOG))
    ends = tuple(exp(min(end, LARGEST_LOG)) for end in nats.interval) if nats.interval else None
    return [
        Measurement("accuracy", right.value, "", right.interval, right.stderr, right.n, protocol),
        Measurement("perplexity", value, "", ends, nats.stderr and value * nats.stderr, nats.n, protocol),
    ]
