"""Random weights with zeros, for the tests of packing."""

import torch


def weights(rows: int, columns: int, sparsity: float, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """A normal weight [rows, columns] with about that share of zeros."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    weight[torch.rand(rows, columns, generator=generator) < sparsity] = 0
    return weight.to(dtype)
