"""torch's semi-structured (2:4) product for packed layers, where it is faster than ours: measured, once for each shape.

It needs a copy of the weight in its own layout: half of the values and two bits for each of these, 0.56 of the dense
weight in 16 bits. The copy is in addition to the packed tensors, which are what is saved; it is made only when asked
for (see `gpu`), and kept only where it won.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

REPEATS = 9
_won: dict[tuple, bool] = {}  # by device, shape, dtype and rounded number of inputs
_copies: WeakKeyDictionary = WeakKeyDictionary()  # of a layer: what its values were, and their copy


def weight_for(layer: PackedLinear, x: torch.Tensor, ours: Callable[[], torch.Tensor]) -> torch.Tensor | None:
    """The copy of the layer's weight with which x [M, C] is multiplied faster than by `ours`; None if there is none.

    For 2:4 without int8, 16 bits, compute capability 8.0 or more. The first layer of its shape is timed at the first
    such number of inputs (rounded up to a power of 2), never while a graph is captured.
    """
    if not _possible(layer, x):
        return None
    key = (x.device, layer.out_features, layer.in_features, x.dtype, 1 << (len(x) - 1).bit_length())
    if _won.get(key) is False:
        return None
    held = _copies.get(layer)
    if held is not None and key in _won and held[0] == _identity(layer):
        return held[1]
    if torch.cuda.is_current_stream_capturing():
        return None
    try:
        copy = held[1] if held is not None and held[0] == _identity(layer) else _made(layer, x)
        if key not in _won:
            _won[key] = _is_faster(lambda: functional.linear(x, copy), ours)
    except Exception:  # shapes that its kernels refuse, a torch without them, or no memory for the copy
        _won[key] = False
    if not _won[key]:
        return None
    _copies[layer] = (_identity(layer), copy)
    return copy


def forget() -> None:
    """Drops all copies and what was measured."""
    _won.clear()
    _copies.clear()


def _possible(layer: PackedLinear, x: torch.Tensor) -> bool:
    format = layer.format
    return (
        (format.kind, format.keep, format.of, format.int8) == ("n:m", 2, 4, False)
        and x.dtype == layer.dtype
        and x.dtype.itemsize == 2
        and x.device.type == "cuda"
        and torch.cuda.get_device_capability(x.device) >= (8, 0)
    )


def _made(layer: PackedLinear, x: torch.Tensor) -> torch.Tensor:
    from pruning.packing.kernels.triton_unpack import unpack

    dense = unpack(layer, torch.empty(layer.out_features, layer.in_features, dtype=layer.dtype, device=x.device))
    return torch.sparse.to_sparse_semi_structured(dense)


def _identity(layer: PackedLinear) -> tuple[int, int]:
    """Changes when other values are loaded into the layer or put in their place."""
    values = layer.values
    return values.data_ptr(), 0 if values.is_inference() else values._version


def _is_faster(one: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether `one` takes less time on the GPU, by medians; they take turns, after two turns that do not count."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(-2, REPEATS):
        for work, times in zip((one, other), seconds, strict=True):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            end.synchronize()
            if turn >= 0:
                times.append(begin.elapsed_time(end))
    return statistics.median(seconds[0]) < statistics.median(seconds[1])
