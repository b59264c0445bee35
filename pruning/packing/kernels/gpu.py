"""The product with a packed matrix on a GPU, by the path that suits the number of inputs.

Up to 8 rows of inputs: a Triton kernel that reads the packed bytes. More: the rows are unpacked into a scratch, and
torch's own product follows. Dense values that are not int8: torch's own product alone. Weights of 2:4 may take torch's
semi-structured product instead where that is faster, see `semi_structured`.

Triton is imported at the first product, not before.

    ESPALIER_SEMI_STRUCTURED   1: semi-structured copies of 2:4 weights, in addition to the packed ones, where faster
"""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.console.out_of_memory import ran_out
from pruning.packing.kernels import semi_structured
from pruning.packing.kernels.library import SlowKernels
from pruning.packing.storage import DTYPES

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

SCRATCH = 128 * 2**20  # bytes that are unpacked at once, at most: a head's table would take a gigabyte
_scratches: dict[tuple, torch.Tensor] = {}
_unusable: list[str] = []  # why the Triton kernels are not used, if they are not


def multiply_on_gpu(layer: PackedLinear, x: torch.Tensor, copies: bool | None = None) -> torch.Tensor:
    """x [..., C] (any float dtype) times the layer's weight, plus its bias: [..., R] in the dtype of x. No gradients.

    copies: whether a 2:4 layer may keep a semi-structured copy of its weight, which takes 0.56 of the dense weight's
    bytes beside the packed ones; None asks ESPALIER_SEMI_STRUCTURED. With it, inputs that are not finite are only told
    by the outputs whose weights for them are kept.

    Where Triton is missing or cannot compile the kernels, the dense weight is made for every product, after one warning
    (SlowKernels).
    """
    if not x.numel():
        return x.new_zeros((*x.shape[:-1], layer.out_features))
    plain = layer.words is None and layer.scales is None
    if plain or _unusable or not _supported(layer, x):
        return _by_torch(layer, x)
    flat = x.reshape(-1, layer.in_features).contiguous()
    try:
        with _on(x.device), torch.no_grad():
            out = _multiply(layer, flat, _wanted() if copies is None else copies)
    except Exception as error:  # whatever an import, a compiler or a driver can come up with
        if ran_out(error):
            raise
        _give_up(error)
        return _by_torch(layer, x)
    return out.reshape(*x.shape[:-1], layer.out_features)


def free_scratch() -> None:
    """Gives the memory back that weights were unpacked into; the next long input takes it again."""
    _scratches.clear()


def _multiply(layer: PackedLinear, x: torch.Tensor, copies: bool) -> torch.Tensor:
    from pruning.packing.kernels import triton_decode

    def ours() -> torch.Tensor:
        return triton_decode.multiply(layer, x) if len(x) <= triton_decode.MOST_INPUTS else _by_unpacking(layer, x)

    if copies and (weight := semi_structured.weight_for(layer, x, ours)) is not None:
        return functional.linear(x, weight, _bias(layer, x))
    return ours()


def _by_unpacking(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    from pruning.packing.kernels.triton_unpack import unpack

    rows, columns, bias = layer.out_features, layer.in_features, _bias(layer, x)
    most = max(1, SCRATCH // (columns * layer.dtype.itemsize))
    if rows <= most:
        weight = unpack(layer, _scratch(rows, columns, layer.dtype, x.device))
        return functional.linear(x, weight.to(x.dtype), bias)
    out = x.new_empty((len(x), rows))
    for first in range(0, rows, most):
        some = slice(first, min(first + most, rows))
        weight = unpack(layer, _scratch(some.stop - first, columns, layer.dtype, x.device), first)
        out[:, some] = functional.linear(x, weight.to(x.dtype), None if bias is None else bias[some])
    return out


def _scratch(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A tensor [rows, columns] that the next call gives out again: what is queued on a stream runs in order."""
    stream = None
    if device.type == "cuda":
        if torch.cuda.is_current_stream_capturing():  # a graph's memory is the graph's own
            return torch.empty(rows, columns, dtype=dtype, device=device)
        stream = torch.cuda.current_stream(device).cuda_stream
    key = (device, dtype, stream)
    if key not in _scratches or _scratches[key].numel() < rows * columns:
        _scratches.pop(key, None)  # before the larger one is asked for
        with torch.inference_mode(False):
            _scratches[key] = torch.empty(rows * columns, dtype=dtype, device=device)
    return _scratches[key][: rows * columns].view(rows, columns)


def _by_torch(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    weight = layer.values if layer.words is None and layer.scales is None else layer.weight
    return functional.linear(x, weight.to(x.dtype), _bias(layer, x))


def _bias(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor | None:
    return None if layer.bias is None else layer.bias.to(x.dtype)


def _supported(layer: PackedLinear, x: torch.Tensor) -> bool:
    dtypes = x.dtype in DTYPES and layer.dtype in DTYPES
    shapes = x.shape[-1] == layer.in_features and layer.out_features > 0
    return dtypes and shapes and layer.values.device == x.device


def _on(device: torch.device):
    """Triton launches on the current device, which need not be that of the layer."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _wanted() -> bool:
    return os.environ.get("ESPALIER_SEMI_STRUCTURED") == "1"


def _give_up(error: Exception) -> None:
    missing = isinstance(error, ImportError)
    lines = str(error).strip().splitlines() or [repr(error)]
    _unusable.append("there is no Triton" if missing else f"{type(error).__name__}: {lines[0].rstrip('.')}")
    remedy = "Install triton." if missing else "A Triton that suits this torch and this GPU is needed."
    warnings.warn(
        f"Packed layers run without their kernels for GPUs, slowly: {_unusable[0]}. {remedy}", SlowKernels, stacklevel=3
    )
