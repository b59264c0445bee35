"""The size of every input channel of the dense model: all that the cheap scores read of calibration text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.console.progress import Progress, part
from models.console.stopping import give_way
from pruning.calibrating.windows import Windows, calibration_windows
from pruning.live.store import InputNorms, store, stored
from pruning.pipeline import opened
from pruning.sharing import visit_dense

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pruning.config import PruningConfig

STATISTIC = "column_norms"


def norms_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    calibration: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> InputNorms:
    """Those of the dense `model` over the calibration text of `config`, kept on disk from the first time on.

    Errors as in `pruning.prune`; WriteFailed where they cannot be kept.
    """
    windows = calibration_windows(model, tokenizer, config, calibration, part(progress, 0.0, 0.05))
    key = fingerprint(model, windows)
    if (norms := stored(key)) is None:
        norms = take_norms(model, tokenizer, config, windows, part(progress, 0.05, 1.0))
        store(key, norms)
    return norms


def take_norms(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PruningConfig,
    windows: Windows,
    progress: Progress | None = None,
) -> InputNorms:
    """Takes them in one forward pass over the `windows`. Errors as in `pruning.prune`."""
    with opened(model, tokenizer, config, progress=progress, windows=windows) as job:
        norms = visit_dense(job, (STATISTIC,), lambda _, statistics: statistics[STATISTIC].cpu())
        return InputNorms(norms, windows.tokens)


def fingerprint(model: PreTrainedModel, windows: Windows) -> str:
    """SHA-256, in hex, of all that input norms depend on: the weights, bit for bit, and the windows' token ids.

    The text, its source, the number of windows and the seed are all in those ids.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        give_way()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for batch in windows.batches:
        digest.update(f"{tuple(batch.ids.shape)}\n".encode())
        digest.update(batch.ids.cpu().contiguous().numpy())
        digest.update(batch.mask.cpu().contiguous().numpy())
    return digest.hexdigest()
