"""Perplexity of a text under a named protocol, bits per byte beside it, and the paired difference of two models.

All numbers of a text come from one forward pass over its windows: with the negative log-likelihoods (nats, fp32) of the
tokens that a protocol scores,

    perplexity    = exp(sum of NLL / tokens scored)             (for equal windows the mean over windows, as in `gptq`)
    bits per byte = sum of NLL / (bytes covered * ln 2)

where the bytes covered are those that the scored tokens add to the text, so that numerator and denominator are of the
same tokens. Perplexity compares only models with the same tokenizer; bits per byte compares any two. The protocols are
the files of `evals.protocols`; their intervals are those of `evals.statistics.block_ratio`.
"""

import numpy as np

from evals import protocols
from evals.measurement import Measurement
from evals.protocols import Request
from evals.text_losses.data import Text, as_text
from evals.text_losses.scored import Scored
from evals.text_losses.scoring import Answer, losses_of, token_losses
from evals.text_losses.windows import Windows
from models.console.progress import Progress
from models.description import context_length
from models.errors import RequestError
from models.loading import Loaded

__all__ = ["ProtocolMismatch", "Scored", "compare", "perplexity", "score", "score_windows", "summarise"]


class ProtocolMismatch(RequestError):
    """Two perplexities were taken under different protocols: their difference would mean nothing."""


def perplexity(
    loaded: Loaded,
    text: str | Text,
    protocol: str = protocols.DEFAULT,
    length: int | None = None,
    progress: Progress | None = None,
    stride: int | None = None,
    bos: str | None = None,
) -> list[Measurement]:
    """The figures of a protocol, bits per byte among them, each with its 95 % interval.

    `length` is the window L in tokens and `stride` that of `hf-stride`; None is the protocol's own. `bos` is where a
    BOS stands: `text`, `window`, or None for what the model needs. Raises RequestError for an unknown protocol, an
    impossible length or a model that is not causal, EspalierError if the model breaks down.
    """
    return summarise(score(loaded, text, protocol, length, progress=progress, stride=stride, bos=bos))


def score(
    loaded: Loaded,
    text: str | Text,
    protocol: str = protocols.DEFAULT,
    length: int | None = None,
    most: int | None = None,
    progress: Progress | None = None,
    stride: int | None = None,
    bos: str | None = None,
) -> Scored:
    """Scores a text once; `summarise` and `compare` then need the model no more. `most` limits the windows."""
    config = loaded.model.config.get_text_config()
    request = Request(
        context_length(config), length, stride, most, protocols.bos_of(protocol, bos, config, loaded.tokenizer)
    )
    windows = protocols.find(protocol).cut(loaded.tokenizer, as_text(text), request)
    dtype = str(loaded.model.dtype).removeprefix("torch.")  # an int8 one computes in it, too

    def answer(group, share: Progress) -> np.ndarray:
        return token_losses(loaded.model, group.ids, group.first, share)

    return score_windows(windows, answer, dtype, progress)


def score_windows(windows: Windows, answer: Answer, dtype: str, progress: Progress | None = None) -> Scored:
    """Windows as a text scored by whoever gives the `answer`, a model in `dtype`."""
    losses = losses_of(windows, answer, progress)
    alike = len({len(row) for row in losses}) == 1
    weights = {unit: np.stack(rows) if alike else rows for unit, rows in windows.weights.items()}
    protocol = windows.protocol | {"dtype": dtype, "loss_dtype": "float32"}
    return Scored(np.stack(losses) if alike else losses, weights, windows.documents, protocol)


def summarise(scored: Scored) -> list[Measurement]:
    """The figures of a scored text: `[perplexity, bits_per_byte]` for `gptq`."""
    return [figure.measure(scored) for figure in protocols.find(scored.protocol["name"]).figures]


def compare(first: Scored, second: Scored) -> list[Measurement]:
    """How the second model differs from the first on the same windows: `[nll_difference, perplexity_ratio]` for `gptq`.

    `nll_difference` is the mean of second - first in nats a token, paired by window, and `perplexity_ratio` its
    exponential, second / first; what the two share (easy and hard passages) cancels, so the intervals are far
    narrower than those of the two perplexities. Raises ProtocolMismatch, naming what differs, unless both were
    scored under the same protocol.
    """
    refuse_mismatch(first.protocol, second.protocol)
    return [figure.compare(first, second) for figure in protocols.find(first.protocol["name"]).comparisons]


def refuse_mismatch(first: dict, second: dict) -> None:
    """Raises ProtocolMismatch, naming every entry in which two protocols differ."""
    differing = [key for key in first | second if first.get(key) != second.get(key)]
    if differing:
        figures = "; ".join(f"{key}: {first.get(key)} against {second.get(key)}" for key in differing)
        raise ProtocolMismatch(f"Perplexities of two protocols cannot be compared ({figures}): score both under one.")
