"""The dtype that a model is stored in, that it is computed in, and what is rounded between the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.memory import require
from models.policy import choose_dtype

if TYPE_CHECKING:
    from models.storage.weights import TensorHeader

STORED = "stored"  # in place of a dtype's name: that of the files
OF_FILES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
# In what else numbers of a dtype are the same numbers.
WIDER = {
    torch.float64: (),
    torch.float32: (torch.float64,),
    torch.bfloat16: (torch.float32, torch.float64),
    torch.float16: (torch.float32, torch.float64),
}


def stored_dtype(headers: Iterable[TensorHeader]) -> torch.dtype | None:
    """The dtype of most numbers of some files; None if it is none that a model is loaded in."""
    sizes = _elements(headers)
    most = OF_FILES.get(max(sizes, key=sizes.get)) if sizes else None
    return None if most is torch.float64 else most


def computing_dtype(device: torch.device, stored: torch.dtype) -> torch.dtype:
    """The dtype to compute in where nothing that is stored in another may be rounded: that one, or float32.

    A CPU that does not multiply `stored` itself computes in float32, in which the numbers are the same.
    """
    if stored in (choose_dtype(device), torch.float32) or (device.type == "cuda" and stored is torch.float16):
        return stored
    return torch.float32


def rounding_note(name: str, headers: Iterable[TensorHeader], model: nn.Module) -> str | None:
    """What loading rounded because the files have another dtype, in one line; None if nothing."""
    held: Counter[torch.dtype] = Counter()
    for tensor in {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}.values():
        held[tensor.dtype] += tensor.numel()
    sizes, main = _elements(headers), max(held, key=held.get)
    for kind, count in sizes.items():
        exact = OF_FILES.get(kind) and (OF_FILES[kind], *WIDER[OF_FILES[kind]])
        if not exact or main in exact:
            continue
        if (lost := count - sum(held[dtype] for dtype in exact)) > 0:
            share = "The" if lost >= sum(sizes.values()) else f"{lost} of {sum(sizes.values())}"
            widest = main is torch.float32
            remedy = "" if widest else ": --dtype float32 rounds " + ("less" if kind == "F64" else "nothing")
            stored = _name(OF_FILES[kind])
            return f"{share} numbers of {name} are stored in {stored} and rounded to {_name(main)}{remedy}."
    return None


@contextmanager
def computing_in(model: nn.Module, dtype: torch.dtype | None) -> Iterator[dict[int, torch.dtype]]:
    """Has the numbers of a model in a wider `dtype`, in place, then in their own again; None changes nothing.

    Gives the dtype that each tensor which is not in its own comes back to, by the tensor's `id`. OutOfMemory if the
    wider numbers would not fit.
    """
    tensors = chain(model.parameters(), model.buffers())
    moved = [tensor for tensor in tensors if dtype and dtype in WIDER.get(tensor.dtype, ())]
    own = {id(tensor): tensor.dtype for tensor in moved}
    if moved:
        more = sum(tensor.numel() * (dtype.itemsize - tensor.element_size()) for tensor in moved)
        require(more, moved[0].device, f"Computing in {_name(dtype)}, so that nothing is rounded,")
    try:
        for tensor in moved:
            tensor.data = tensor.data.to(dtype)
        yield own
    finally:
        for tensor in moved:
            tensor.data = tensor.data.to(own[id(tensor)])


def _elements(headers: Iterable[TensorHeader]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for header in headers:
        sizes[header.dtype] += header.elements
    return sizes


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
