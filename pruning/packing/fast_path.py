"""Whether the blocks of a packed model write a token by the fused path, and if not, why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from models.errors import EspalierError
from pruning.anatomy.roles import find_blocks
from pruning.packing.fused import FusedBlock, Parts
from pruning.packing.linear import PackedLinear


@dataclass(frozen=True)
class FastPath:
    """Of `blocks` decoder blocks, `fused` write a token in two calls; the others for the reasons counted."""

    blocks: int
    fused: int
    reasons: dict[str, int]

    @property
    def whole(self) -> bool:
        """Whether every block takes the fused path."""
        return self.fused == self.blocks

    @property
    def sentence(self) -> str:
        """`fused blocks off: why`; empty where every block is fused."""
        if self.whole:
            return ""
        share = "" if self.fused == 0 else f" in {self.blocks - self.fused} of {self.blocks}"
        return f"fused blocks off{share}: {'; '.join(self.reasons)}"


def slow_path(model: nn.Module) -> str:
    """The sentence for a packed model on the CPU whose blocks are not all fused; empty for every other model.

    On a GPU there are no fused blocks to be missed.
    """
    layers = [module for module in model.modules() if isinstance(module, PackedLinear)]
    if not layers or not layers[0].values.is_cpu:
        return ""
    return fast_path(model).sentence


def require_fast_path(name: str, model: nn.Module) -> None:
    """Raises EspalierError if `slow_path` has something to say: a benchmark would publish the figures of another path."""
    if sentence := slow_path(model):
        raise EspalierError(f"{name}: {sentence}. Its speed is not published: mend that first.")


@torch.no_grad()
def fast_path(model: nn.Module) -> FastPath:
    """Looks at every block of a packed model as a call for one token would. Compiles the kernels if need be."""
    blocks = find_blocks(model)[1]
    found = [_reason(block, model.dtype) for block in blocks]
    reasons = Counter(reason for reason in found if reason is not None)
    return FastPath(len(blocks), found.count(None), dict(reasons))


def _reason(block: nn.Module, dtype: torch.dtype) -> str | None:
    if not isinstance(block, FusedBlock):
        parts = Parts.of(block)
        return parts if isinstance(parts, str) else "the model was not packed by Espalier's pack or load"
    parts = block.fused
    device = parts.matrices[0].values.device
    hidden = torch.zeros((1, 1, parts.matrices[0].in_features), dtype=dtype, device=device)
    rotary = torch.zeros((1, 1, parts.attention.head_dim), dtype=dtype, device=device)
    found = parts.find(block, hidden, (rotary, rotary), {})
    return found if isinstance(found, str) else None
