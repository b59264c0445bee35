"""Random: the floor that every method must clear."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "random", group="row")
def random(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """Chance, the same in every run of the same model; needs no text. The floor that a method must clear.

    `weight` [R, C] -> scores [R, C], uniform in 0..1, seeded by the shape and a SHA-256 of the weight's bytes, so that
    no two projections share them and `--seed`, which is about calibration, has no say.
    """
    import torch

    stored = weight.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.sha256(repr(tuple(stored.shape)).encode() + stored.numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.rand(stored.shape, generator=generator).to(weight.device)
