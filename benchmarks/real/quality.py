"""What a model is worth, as sums that can be paired with another's afterwards: by window of text, by row of a task."""

import hashlib
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from evals import task
from evals.asking.request_client import RequestClient
from evals.protocols import Request, find
from evals.text_losses.closeness import token_closeness
from evals.text_losses.data import Text
from evals.text_losses.perplexity import score
from evals.text_losses.scored import Scored
from models import Loaded
from models.console.progress import Progress, part
from models.description import context_length

TASKS = ("piqa", "hellaswag", "arc_challenge", "openbookqa", "winogrande", "commonsense_qa", "lambada")
JUDGES = {"choice": "evals.judging.choices", "partial": "evals.metrics.partial", "last_word": "evals.metrics.last_word"}
ACCURACIES = ("accuracy", "accuracy_norm")


def texts(loaded: Loaded, measured: Sequence[Text], windows: int, progress: Progress) -> dict[str, dict]:
    """By text the losses of its first windows of the protocol `gptq`, summed by window."""
    found = {}
    for at, text in enumerate(measured):
        share = part(progress, at / len(measured), (at + 1) / len(measured))
        scored = score(loaded, text, most=windows, progress=share)
        found[text.id] = {
            "nats": _sums(scored.losses),
            "sizes": {unit: _sums(rows) for unit, rows in scored.weights.items()},
            "protocol": scored.protocol,
        }
    return found


def as_scored(stored: dict) -> Scored:
    """What `texts` stored of one text, with a window's sum for its tokens: the same figures come of it."""
    windows = len(stored["nats"])
    weights = {unit: np.array(sizes)[:, None] for unit, sizes in stored["sizes"].items()}
    return Scored(np.array(stored["nats"])[:, None], weights, np.zeros(windows, dtype=int), stored["protocol"])


def closeness(dense: Loaded, pruned: Loaded, measured: Sequence[Text], windows: int, progress: Progress) -> dict:
    """KL(dense || pruned) in nats and the agreement of the likeliest tokens, means of each text's first windows."""
    request = Request(context_length(dense.model.config), None, None, windows, "text")
    cut = [find("gptq").cut(dense.tokenizer, text, request).ids for text in measured]
    ids = torch.from_numpy(np.stack([row for rows in cut for row in rows]))
    found = token_closeness(dense.model, pruned.model, ids, progress)
    return {"kl": found.kl.mean(-1).tolist(), "agreement": found.agrees.mean(-1).tolist(), "tokens": found.kl.shape[1]}


def tasks(loaded: Loaded, source: Path, rows: int | None, progress: Progress, names: Sequence[str] = TASKS) -> dict:
    """By task the hits of each accuracy, one figure 0 or 1 a row, and what was asked."""
    client = RequestClient("model", loaded.tokenizer, loaded.model.config, "", lambda: loaded)
    found = {}
    for at, name in enumerate(names):
        share = part(progress, at / len(names), (at + 1) / len(names))
        asked = task.find(name)
        chosen = asked.rows(source, rows)
        judge = import_module(JUDGES[asked.metric])
        answers = judge.answer(client, asked, chosen, share)
        judged = [judge.judge(asked, row, given) for row, given in zip(chosen, answers, strict=True)]
        hits = {kind: "".join(f"{one[kind][0]:.0f}" for one in judged) for kind in ACCURACIES if kind in judged[0]}
        found[name] = {"hits": hits, "asked": digest(asked, chosen)}
    return found


def digest(asked: task.Task, rows: Sequence[dict]) -> str:
    """Of a task's definition and the rows that were asked, 16 hex digits: figures of the same can be paired."""
    told = json.dumps([asked.digest, list(rows)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _sums(rows: Sequence[np.ndarray]) -> list[float]:
    return [float(np.sum(row, dtype=np.float64)) for row in rows]
