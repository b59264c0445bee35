"""How close each contender is to the first model: its odds token by token, and where their greedy texts part."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from evals import protocols, statistics
from evals.judging.text_figures import Pooled
from evals.measurement import Measurement
from evals.protocols import Request
from evals.registry import metric
from evals.runs.results import Result
from evals.statistics.unseen import widened
from evals.text_losses.closeness import (
    Closeness,
    continuations,
    partings,
    prompts,
    refuse_other_tokenizer,
    token_closeness,
)
from evals.text_losses.scored import Scored
from evals.text_losses.windows import Windows
from evals.trial import Trial
from models.console.progress import part
from models.errors import RequestError
from models.loading import Loaded

QUICK_WINDOWS = 16
PROMPTS, QUICK_PROMPTS = 32, 10
PROMPT_TOKENS, NEW_TOKENS = 32, 64
ODDS_SHARE = 0.6  # of the progress
FEWEST_ALIKE = 5  # samples; half to the power of five is less than 5 %

KL = Pooled("kl_divergence", "tokens", "nats/token")
AGREEMENT = Pooled("top1_agreement", "tokens")


@metric(models_at_once=2, scores=True)
def closeness(trial: Trial) -> Iterator[Result]:
    """KL divergence from the first model, top-1 agreement, and the tokens until greedy texts part.

    KL(first || contender) and whether both find the same token likeliest are of every token of the same windows
    (protocol gptq), with intervals over windows. Greedy continuations of passages of the text are told by the median
    number of tokens until they part, and the share of them that never do.
    """
    pool = trial.pool
    if not pool.others:
        raise RequestError("closeness compares models with the first one: name at least two.")
    baseline = pool.baseline
    asked = QUICK_PROMPTS if trial.quick else PROMPTS
    written: tuple[list[list[int]], list[list[int]]] | None = None
    for at, name in enumerate(pool.others):
        share = part(trial.progress, at / len(pool.others), (at + 1) / len(pool.others))
        dense, pruned = pool.hold(baseline, name)
        try:
            refuse_other_tokenizer(dense, pruned)
        except RequestError as mismatch:
            trial.notes.append(f"{name} against {baseline}: {mismatch}")
            continue
        context = min(pool.record(each)["context"] for each in (baseline, name))
        windows = _windows(trial, dense, context)
        found = token_closeness(
            dense.model, pruned.model, torch.from_numpy(np.stack(windows.ids)), part(share, 0, ODDS_SHARE)
        )
        told = {"dense": baseline, "dtype": str(pool.precision).removeprefix("torch.")}
        yield from (Result(name, "closeness", each) for each in odds(found, windows, told))
        if written is None:
            length = max(1, min(PROMPT_TOKENS, context // 4))
            starts = prompts(dense.tokenizer, np.concatenate(windows.ids), asked, length)
            tokens = max(1, min(NEW_TOKENS, context // 2))
            written = starts, continuations(dense, starts, tokens, part(share, ODDS_SHARE, (1 + ODDS_SHARE) / 2))
        parted = partings(pruned, *written, part(share, (1 + ODDS_SHARE) / 2, 1))
        yield from (Result(name, "closeness", each) for each in texts(parted, written[1], told, trial.seed))


def odds(found: Closeness, windows: Windows, told: dict) -> list[Measurement]:
    """The mean divergence and the share of agreement, their intervals over windows and within what is possible."""
    protocol = windows.protocol | told
    scored = (Scored(each, windows.weights, windows.documents, protocol) for each in (found.kl, found.agrees * 1.0))
    figures = zip((KL, AGREEMENT), scored, (None, 1.0), strict=True)
    return [_within(figure.measure(each), most) for figure, each, most in figures]


def texts(parted: np.ndarray, written: Sequence[Sequence[int]], told: dict, seed: int) -> list[Measurement]:
    """The median number of tokens until texts part, and the share of them that do not."""
    tokens = len(written[0])
    protocol = {"name": "greedy", "prompts": len(written), "new_tokens": tokens} | told
    middle = statistics.median(parted, seed)
    if middle.interval is None and len(parted) > 1:
        # All part at one place. With 95 % confidence more than half of all texts do, if there are five; where they
        # part is known to a whole token.
        near = (max(0.0, middle.value - 1), min(float(tokens), middle.value + 1))
        middle = widened(middle.value, near if len(parted) >= FEWEST_ALIKE else (0.0, float(tokens)), len(parted))
    same = statistics.wilson(int((parted == tokens).sum()), len(parted))
    return [
        Measurement("tokens_until_parting", middle.value, "tokens", middle.interval, middle.stderr, middle.n, protocol),
        Measurement("texts_never_parting", same.value, "", same.interval, same.stderr, same.n, protocol),
    ]


def _windows(trial: Trial, dense: Loaded, context: int) -> Windows:
    length = trial.options.get("length")
    most = QUICK_WINDOWS if trial.quick else None
    bos = protocols.bos_of("gptq", trial.options.get("bos"), dense.model.config.get_text_config(), dense.tokenizer)
    return protocols.find("gptq").cut(dense.tokenizer, trial.text, Request(context, length, most=most, bos=bos))


def _within(measurement: Measurement, most: float | None) -> Measurement:
    if measurement.interval is None:
        if most is None or measurement.value not in (0.0, most) or measurement.n < 2:
            return measurement
        # All windows agree on every token, or none on any: they are what is independent.
        share = statistics.wilson(measurement.value * measurement.n, measurement.n)
        return replace(measurement, interval=share.interval, stderr=share.stderr)
    low, high = measurement.interval
    return replace(measurement, interval=(max(0.0, low), high if most is None else min(most, high)))
