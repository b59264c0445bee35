"""One matrix in a packed format: made from a weight, and made into it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.errors import RequestError
from pruning.packing import masks
from pruning.packing.format import Format
from pruning.packing.quantise import dequantise, quantise

PADDING = 64  # bytes of zeros after the last value where there is a mask: kernels read whole vectors
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


class CannotPack(RequestError):
    """A weight that the format cannot hold as it is; the text says why and which format can."""


@dataclass
class Storage:
    """A matrix of R rows (outputs) and C columns (inputs) in `format`, which is never "auto".

    values: [R, C] for "dense", otherwise [K + padding], the kept ones row after row; int8, or of the weight's dtype.
    words: the mask, [R, ceil(C / 64)] int64; None for "dense". scales: [R, groups] float32; None without int8.
    dtype: that of the weight, which `decode` gives back.
    """

    format: Format
    rows: int
    columns: int
    dtype: torch.dtype
    values: torch.Tensor
    words: torch.Tensor | None = None
    scales: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        """What its tensors take."""
        return sum(tensor.nbytes for tensor in (self.values, self.words, self.scales) if tensor is not None)


@torch.no_grad()
def encode(weight: torch.Tensor, format: Format, signed_zeros: bool = True) -> Storage:
    """A weight [R, C] in `format`; "auto" is the smallest that gives the same weight (or the same int8) again.

    Without `signed_zeros` a -0.0 becomes 0.0, which no product can tell, and is not stored.

    CannotPack if its dtype is unknown, if it does not keep the N:M pattern, or for int8 if it is not finite.
    """
    if weight.dtype not in DTYPES:
        raise CannotPack(f"Weights of {weight.dtype} cannot be packed: use --dtype bfloat16, float16 or float32.")
    weight = weight.detach().cpu()
    if not signed_zeros:
        weight = weight + 0.0
    keep = masks.nonzero(weight)
    if format.kind == "auto":
        format = _smallest(weight, keep, format)
    values, scales = weight, None
    if format.int8:
        try:
            values, scales = quantise(weight, format.group)
        except ValueError as error:
            raise CannotPack(f"The weights cannot be stored as int8 ({error}): use a format without :int8.") from None
    words = None
    if format.kind != "dense":
        keep = _mask(keep if format.kind == "n:m" else masks.nonzero(values), format)
        words = masks.pack(keep)
        padding = torch.zeros(PADDING // values.element_size(), dtype=values.dtype)
        values = torch.cat([values[keep], padding])
    return Storage(format, *weight.shape, weight.dtype, values.contiguous(), words, scales)


@torch.no_grad()
def decode(storage: Storage) -> torch.Tensor:
    """The weight [R, C] again, on the CPU: bit for bit, or with int8 its quantised values in the weight's dtype."""
    values = storage.values.detach().cpu()
    if storage.words is not None:
        keep = masks.unpack(storage.words, storage.columns)
        dense = torch.zeros(keep.shape, dtype=values.dtype)
        dense[keep] = values[: int(keep.sum())]
        values = dense
    if storage.scales is None:
        return values.clone() if storage.words is None else values
    return dequantise(values, storage.scales.cpu(), storage.format.group, storage.dtype)


def check(storage: Storage) -> None:
    """Raises ValueError unless the tensors have the sizes that kernels rely on: files can say anything."""
    format, rows, columns = storage.format, storage.rows, storage.columns
    values, words, scales = storage.values, storage.words, storage.scales
    expected = torch.int8 if format.int8 else storage.dtype
    if values.dtype != expected or storage.dtype not in DTYPES:
        raise ValueError(f"values are {values.dtype}, not {expected}")
    if scales is not None and (
        scales.shape != (rows, -(-columns // (format.group or columns))) or scales.dtype != torch.float32
    ):
        raise ValueError(f"scales have the shape {tuple(scales.shape)}")
    if words is None:
        if values.shape != (rows, columns):
            raise ValueError(f"values have the shape {tuple(values.shape)}, not {(rows, columns)}")
        return
    if words.shape != (rows, masks.words_of(columns)) or words.dtype != torch.int64:
        raise ValueError(f"the mask has the shape {tuple(words.shape)}")
    counts = masks.counts(words)
    if format.kind == "n:m" and bool((counts != columns // format.of * format.keep).any()):
        raise ValueError(f"a row does not keep {format.keep} of {format.of}")
    if values.ndim != 1 or values.nbytes != int(counts.sum()) * values.element_size() + PADDING:
        raise ValueError(f"there are {values.numel()} values for {int(counts.sum())} bits of the mask")


def row_starts(words: torch.Tensor) -> torch.Tensor:
    """Where in the values each row begins: [R], int64."""
    counts = masks.counts(words)
    return counts.cumsum(0) - counts


def _mask(keep: torch.Tensor, format: Format) -> torch.Tensor:
    if format.kind != "n:m":
        return keep
    try:
        return masks.fill_groups(keep, format.keep, format.of)
    except ValueError as error:
        raise CannotPack(f"The format {format} does not fit: {error}. Use auto or bitmask.") from None


def _smallest(weight: torch.Tensor, keep: torch.Tensor, format: Format) -> Format:
    """Dense or bitmask. N:M has the same bytes less its rows' offsets, which are not worth a search for patterns."""
    size = 1 if format.int8 else weight.element_size()
    packed = 8 * masks.words_of(weight.shape[1]) * weight.shape[0] + size * int(keep.sum()) + PADDING
    return format.of_kind("bitmask" if packed < size * weight.numel() else "dense")
