"""Perplexity and bits per byte of the text, and each contender's paired ratio to the baseline."""

from collections.abc import Iterator

import numpy as np
import torch

from evals import protocols
from evals.asking.request_client import RequestClient
from evals.protocols import Request
from evals.registry import metric
from evals.runs.results import Result
from evals.text_losses.overlap import overlap_note
from evals.text_losses.perplexity import ProtocolMismatch, Scored, compare, score_windows, summarise
from evals.text_losses.scoring import Group, batch_losses, batch_size
from evals.trial import Trial
from models.console.progress import Progress, part
from models.loading import Loaded

QUICK_WINDOWS = 16


@metric(scores=True)
def perplexity(trial: Trial) -> Iterator[Result]:
    """Perplexity under a named protocol and bits per byte, with the paired ratio to the first model.

    The models are loaded one after the other, where the cache does not know their losses already.
    """
    names = trial.pool.names
    clients = {name: trial.client(name) for name in names}
    windows = {name: _windows(trial, client) for name, client in clients.items()}
    scored: dict[str, Scored] = {}
    for at, (name, client) in enumerate(clients.items()):
        if note := overlap_note(name, trial.pool.folder(name), client.tokenizer, trial.text):
            trial.notes.append(note)
        share = part(trial.progress, at / len(names), (at + 1) / len(names))
        scored[name] = _score(trial.pool.precision, client, windows[name], share)
        yield from (Result(name, "perplexity", measurement) for measurement in summarise(scored[name]))
    baseline = trial.pool.baseline
    for name in trial.pool.others:
        try:
            compared = compare(scored[baseline], scored[name])
        except ProtocolMismatch as mismatch:
            trial.notes.append(f"{name} against {baseline}: {mismatch} Bits per byte compare across tokenizers.")
            continue
        yield from (Result(name, "perplexity", measurement, baseline) for measurement in compared)


def _windows(trial: Trial, client: RequestClient):
    name = trial.options.get("protocol") or protocols.DEFAULT
    length, stride = trial.options.get("length"), trial.options.get("stride")
    bos = protocols.bos_of(name, trial.options.get("bos"), client.config, client.tokenizer)
    request = Request(client.context, length, stride, QUICK_WINDOWS if trial.quick else None, bos)
    return protocols.find(name).cut(client.tokenizer, trial.text, request)


def _score(precision: torch.dtype, client: RequestClient, windows, progress: Progress) -> Scored:
    def answer(group: Group, share: Progress) -> np.ndarray:
        def compute(loaded: Loaded, ids: torch.Tensor) -> np.ndarray:
            return batch_losses(loaded.model, ids, group.first)

        at_once = batch_size(client.config, group.ids.shape[1], precision.itemsize)
        return client.losses(group.ids, compute, at_once, share, group.first)

    return score_windows(windows, answer, str(precision).removeprefix("torch."), progress)
