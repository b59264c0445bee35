"""The dense model as pruning loads it: what is stored in one dtype is saved in it, wherever it was computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import Loaded, load
from models.policy import choose_device
from models.precision import STORED, computing_dtype

if TYPE_CHECKING:
    import torch


def load_dense(model: str, device: str, dtype: str, home: str | None = None) -> tuple[Loaded, torch.dtype | None]:
    """The model, and the dtype to compute in where that is another than its own (`computed` of `pruning.prune`).

    With `dtype` "auto" the model is in the dtype of its files, so that weights which are not changed keep their bits,
    and a machine that is not made for it computes in float32; any other is the model's and is computed in. `device` is
    where blocks are computed, `home` where the model lies (None: there, too). Errors as of `models.load`.
    """
    target = choose_device(device)
    if dtype != "auto":
        return load(model, home or device, dtype), None
    loaded = load(model, home or device, STORED)
    computed = computing_dtype(target, loaded.model.dtype)
    return loaded, None if computed == loaded.model.dtype else computed
