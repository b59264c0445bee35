"""What weights would take if their zeros were not stored: a forecast for three formats, tensor by tensor.

    bitmask   one bit for every weight, and the values that are not zero
    csr       compressed sparse rows: a value and an index of 4 bytes for every non-zero, an offset of 4 for every row
    2:4       two values of every four and two bits for the place of each: only where no four hold more than two

A tensor stays dense where that is smaller or where it does not fit the format, as everything but matrices does for
csr and 2:4. No file or process takes so little until the model is packed.
"""

from dataclasses import dataclass
from math import ceil

import torch
from torch import nn

from models.memory import parameter_bytes

INDEX_BYTES = 4
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class SparseBytes:
    """Bytes of a whole model in each format; `fitting` of its `matrices` hold at most two of every four."""

    bitmask: int
    csr: int
    two_of_four: int
    matrices: int
    fitting: int


@torch.inference_mode()
def sparse_bytes(model: nn.Module) -> SparseBytes:
    """Bytes of all parameters and buffers in each format, tied weights once."""
    dense = parameter_bytes(model)
    saved = dict.fromkeys(("bitmask", "csr", "two_of_four"), 0)
    matrices = fitting = 0
    for tensor in model.parameters():
        whole, item = tensor.numel() * tensor.element_size(), tensor.element_size()
        nonzero = int(torch.count_nonzero(tensor))
        sizes = {"bitmask": bitmask_bytes(tensor.numel(), nonzero, item)}
        if tensor.ndim >= 2:
            fits = fits_two_of_four(tensor)
            matrices, fitting = matrices + 1, fitting + fits
            sizes["csr"] = csr_bytes(tensor.numel() // tensor.shape[-1], nonzero, item)
            if fits:
                sizes["two_of_four"] = two_of_four_bytes(tensor.numel(), item)
        for form, size in sizes.items():
            saved[form] += max(0, whole - size)
    return SparseBytes(*(dense - saved[form] for form in ("bitmask", "csr", "two_of_four")), matrices, fitting)


def bitmask_bytes(elements: int, nonzero: int, item_bytes: int) -> int:
    """One bit for every element, and the values that are not zero."""
    return ceil(elements / 8) + nonzero * item_bytes


def csr_bytes(rows: int, nonzero: int, item_bytes: int) -> int:
    """A value and a column index for every non-zero, and where each row begins."""
    return nonzero * (item_bytes + INDEX_BYTES) + (rows + 1) * INDEX_BYTES


def two_of_four_bytes(elements: int, item_bytes: int) -> int:
    """Half of the values, and two bits for the place of each among its four."""
    return elements // 2 * item_bytes + ceil(elements / 8)


def fits_two_of_four(weight: torch.Tensor) -> bool:
    """Whether no four consecutive weights along one of the last two dimensions hold more than two non-zeros.

    Which of the two are the inputs depends on the layer (transformers' Conv1D stores them first).
    """
    return any(_at_most_two(matrix) for matrix in (weight, weight.transpose(-1, -2)))


def _at_most_two(weight: torch.Tensor) -> bool:
    if weight.shape[-1] % 4:
        return False
    pieces = weight.split(ROWS_AT_ONCE, dim=-2)  # a mask of all at once, or a transposed copy, would double the memory
    return all(int((piece.reshape(-1, 4) != 0).sum(-1).max()) <= 2 for piece in pieces)
