"""Whether the blocks of a packed model write a token by the fused path, and if not, why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from pruning.packing.fused import FusedBlock, Parts
from pruning.roles import find_blocks


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


@torch.no_grad()
def fast_path(model: nn.Module) -> FastPath:
    """Looks at every block of a packed model as a call for one token would. Compiles the kernels where they are missing."""
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
