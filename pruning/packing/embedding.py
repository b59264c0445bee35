"""`PackedEmbedding`: an embedding whose table is the int8 weight of the head that it is tied to."""

from __future__ import annotations

import torch
from torch import nn

from pruning.packing.linear import PackedLinear
from pruning.packing.quantise import dequantise


class PackedEmbedding(nn.Module):
    """Looks tokens up in a dense int8 table [V, H], which it shares with the head: q s, rounded to `dtype`."""

    def __init__(self, head: PackedLinear, padding_idx: int | None = None):
        super().__init__()
        self.num_embeddings, self.embedding_dim = head.out_features, head.in_features
        self.padding_idx, self.group, self.dtype = padding_idx, head.format.group, head.dtype
        self.values = head.values
        self.register_buffer("scales", head.scales)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids [...] to embeddings [..., H]."""
        flat = ids.reshape(-1)
        rows = dequantise(self.values[flat], self.scales[flat], self.group, self.dtype)
        return rows.reshape(*ids.shape, self.embedding_dim)

    @property
    def weight(self) -> torch.Tensor:
        """The dense table [V, H], made anew at every access."""
        return dequantise(self.values.data, self.scales, self.group, self.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, int8"

    def _apply(self, fn, recurse=True):
        scales = self.scales
        super()._apply(fn, recurse)
        if self.scales.dtype != scales.dtype:  # `.to(dtype)` is about what is looked up
            self.dtype, self.scales = self.scales.dtype, scales.to(self.scales.device)
        return self
