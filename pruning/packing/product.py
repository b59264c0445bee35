"""The product of inputs with a packed matrix, by the best path that there is on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from pruning.packing.kernels import kernels
from pruning.packing.kernels.gpu import multiply_on_gpu

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear


def multiply(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    """x [..., C] times the layer's weight, plus its bias: [..., R] in the dtype of x. Without gradients."""
    if x.is_cpu and (operators := kernels()) is not None:
        return operators.linear(x, layer.matrix)
    if x.is_cuda:
        return multiply_on_gpu(layer, x)
    return functional.linear(x, layer.weight.to(x.dtype), layer.bias)
