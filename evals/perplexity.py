"""Perplexity and bits per byte of a text under a named protocol, and the paired difference of two models.

Both numbers come from the same forward pass. With CE_i the mean negative log-likelihood (nats, fp32) of the L-1
scored tokens of window i,

    perplexity    = exp(mean_i CE_i)                            (the `gptq` protocol)
    bits per byte = sum of all NLL / (bytes covered * ln 2)

where the bytes covered are those that the scored tokens add to the text: the bytes of each window's first token,
which is never scored, and of the dropped tail are not counted, so numerator and denominator are of the same tokens.
Perplexity compares only models with the same tokenizer; bits per byte compares any two.

The intervals are t intervals over windows, of the log for perplexity. A text of fewer than eight windows has
each window cut into equal pieces for the spread (not for the value), so that there are eight samples at least.
"""

from dataclasses import dataclass
from math import ceil, exp, log

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from evals import statistics
from evals.data import Text, as_text
from evals.measurement import Measurement
from evals.statistics import Estimate
from evals.windows import gptq_windows
from models.description import context_length
from models.errors import EspalierError, RequestError
from models.loading import Loaded
from models.progress import Progress, silent

PROTOCOLS = {"gptq": gptq_windows}
FEWEST_SAMPLES = 8
BATCH_TOKENS = 2048  # tokens of one forward pass; more of them gain no speed
LARGEST_LOG = 700.0  # nats; exp of little more is not a finite float
LOGIT_BYTES = 128 << 20  # what one batch's logits, and one fp32 copy of a piece of them, may take


class ProtocolMismatch(RequestError):
    """Two perplexities were taken under different protocols: their difference would mean nothing."""


@dataclass(frozen=True)
class Scored:
    """A text scored by one model: `losses` [n, L-1] in nats and the `bytes` [n, L-1] that each token adds."""

    losses: np.ndarray
    bytes: np.ndarray
    protocol: dict


def perplexity(
    loaded: Loaded,
    text: str | Text,
    protocol: str = "gptq",
    length: int | None = None,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Perplexity and bits per byte of a text: `[perplexity, bits_per_byte]`, each with its 95 % interval.

    `length` is the window L in tokens; None is the protocol's own (min(context, 2048) for `gptq`).
    Raises RequestError for an unknown protocol or an impossible length, EspalierError if the model breaks down.
    """
    return summarise(score(loaded, text, protocol, length, progress=progress))


def score(
    loaded: Loaded,
    text: str | Text,
    protocol: str = "gptq",
    length: int | None = None,
    most: int | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Scores a text once; `summarise` and `compare` then need the model no more. `most` limits the windows."""
    if protocol not in PROTOCOLS:
        raise RequestError(f"Unknown perplexity protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}.")
    context = context_length(loaded.model.config.get_text_config())
    windows = PROTOCOLS[protocol](loaded.tokenizer, as_text(text), context, length, most)
    losses = token_losses(loaded.model, windows.ids, progress)
    dtype = str(next(loaded.model.parameters()).dtype).removeprefix("torch.")
    return Scored(losses, windows.bytes, windows.protocol | {"dtype": dtype, "loss_dtype": "float32"})


@torch.inference_mode()
def token_losses(model: PreTrainedModel, windows: torch.Tensor, progress: Progress | None = None) -> np.ndarray:
    """The negative log-likelihood in nats [n, L-1] of every token but the first of each window of ids [n, L].

    Computed in fp32, several windows at a time; the logits are widened to fp32 a piece at a time, so that a large
    vocabulary never has all of a batch in fp32. Raises EspalierError on output that is not finite or lack of memory.
    """
    report = progress or silent
    count, length = windows.shape
    parameter = next(model.parameters())
    window_bytes = length * model.config.get_text_config().vocab_size * parameter.element_size()
    batch = max(1, min(BATCH_TOKENS // length, LOGIT_BYTES // window_bytes))
    losses = torch.empty(count, length - 1)
    for start in range(0, count, batch):
        report(start / count, f"window {start + 1} of {count}")
        ids = windows[start : start + batch].to(parameter.device)
        try:
            logits = model(input_ids=ids, use_cache=False).logits
            losses[start : start + len(ids)] = _next_token_losses(logits, ids).cpu()
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            raise EspalierError("Out of memory while scoring: use a smaller model or shorter windows.") from error
    if not bool(torch.isfinite(losses).all()):
        raise EspalierError("The model's output is not finite: its weights are damaged, or its dtype is too narrow.")
    report(1.0, f"{count} windows")
    return losses.numpy()


def _next_token_losses(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    # logits [B, L, V], ids [B, L] -> [B, L-1]
    rows, length, vocabulary = logits.shape
    step = max(1, LOGIT_BYTES // (4 * rows * vocabulary))
    pieces = [
        functional.cross_entropy(
            logits[:, start : min(start + step, length - 1)].float().flatten(0, 1),
            ids[:, start + 1 : start + 1 + step].flatten(),
            reduction="none",
        ).view(rows, -1)
        for start in range(0, length - 1, step)
    ]
    return torch.cat(pieces, dim=1)


def summarise(scored: Scored) -> list[Measurement]:
    """The two numbers of a scored text: `[perplexity, bits_per_byte]`."""
    losses = scored.losses.astype(np.float64)
    windows = len(losses)
    nats_per_byte = statistics.ratio_of_sums(_pieces(losses, np.sum), _pieces(scored.bytes, np.sum))
    bits = _scaled(nats_per_byte, 1 / log(2))
    return [
        _exponential("perplexity", "", _mean_over_pieces(losses), scored.protocol, windows),
        _measurement("bits_per_byte", "bits/byte", bits, scored.protocol, windows),
    ]


def compare(first: Scored, second: Scored) -> list[Measurement]:
    """How the second model differs from the first on the same windows: `[nll_difference, perplexity_ratio]`.

    `nll_difference` is the mean of second - first in nats a token, paired by window, and `perplexity_ratio` its
    exponential, second / first; what the two share (easy and hard passages) cancels, so the intervals are far
    narrower than those of the two perplexities. Raises ProtocolMismatch, naming what differs, unless both were
    scored under the same protocol.
    """
    refuse_mismatch(first.protocol, second.protocol)
    difference = _mean_over_pieces(second.losses.astype(np.float64) - first.losses.astype(np.float64))
    windows = len(first.losses)
    return [
        _measurement("nll_difference", "nats/token", difference, first.protocol, windows),
        _exponential("perplexity_ratio", "times", difference, first.protocol, windows),
    ]


def refuse_mismatch(first: dict, second: dict) -> None:
    """Raises ProtocolMismatch, naming every entry in which two protocols differ."""
    differing = [key for key in first | second if first.get(key) != second.get(key)]
    if differing:
        figures = "; ".join(f"{key}: {first.get(key)} against {second.get(key)}" for key in differing)
        raise ProtocolMismatch(f"Perplexities of two protocols cannot be compared ({figures}): score both under one.")


def _mean_over_pieces(losses: np.ndarray) -> Estimate:
    spread = statistics.mean(_pieces(losses, np.mean))
    return statistics.around(float(losses.mean()), spread.stderr, spread.n)


def _pieces(values: np.ndarray, reduce) -> np.ndarray:
    """Values [n, k] reduced to one figure for a window, or for a piece of one where the windows are too few."""
    pieces = min(ceil(FEWEST_SAMPLES / len(values)), values.shape[1])
    return np.stack([reduce(piece, axis=1) for piece in np.array_split(values, pieces, axis=1)], axis=1).ravel()


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    value, stderr, interval, n = estimate
    if stderr is None or interval is None:
        return Estimate(value * factor, None, None, n)
    return Estimate(value * factor, stderr * factor, (interval[0] * factor, interval[1] * factor), n)


def _measurement(metric: str, unit: str, estimate: Estimate, protocol: dict, windows: int) -> Measurement:
    spread = {"interval_over": f"{estimate.n} windows" if estimate.n == windows else f"{estimate.n} pieces of windows"}
    return Measurement(metric, estimate.value, unit, estimate.interval, estimate.stderr, windows, protocol | spread)


def _exponential(metric: str, unit: str, logarithm: Estimate, protocol: dict, windows: int) -> Measurement:
    if abs(logarithm.value) > LARGEST_LOG:
        raise EspalierError("The perplexity is beyond any number: the weights are damaged, or the dtype is too narrow.")
    value = exp(logarithm.value)
    if logarithm.stderr is None or logarithm.interval is None:
        return _measurement(metric, unit, Estimate(value, None, None, logarithm.n), protocol, windows)
    low, high = logarithm.interval
    ends = (exp(low), exp(min(high, LARGEST_LOG)))
    return _measurement(metric, unit, Estimate(value, value * logarithm.stderr, ends, logarithm.n), protocol, windows)
