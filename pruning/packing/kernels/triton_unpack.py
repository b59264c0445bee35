"""Dense rows of a packed matrix, made on the GPU: for many rows of inputs, whose product a dense library does best.

Only to be imported where Triton is installed; see `triton_decode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from pruning.packing.kernels.triton_bits import WORD, count_through, in_each_word, load_words, pairs, row_begins

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

ROWS = 4  # that a program unpacks


def unpack(layer: PackedLinear, out: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Writes n rows of the layer's weight, from number `first` on, to `out` [n, C] (contiguous), and returns it.

    `out` has the layer's dtype; the rows are those that `pruning.packing.storage.decode` gives, bit for bit.
    """
    (rows, columns), words, values = out.shape, layer.words, layer.values.detach()
    if words is None and layer.scales is None:
        return out.copy_(values[first : first + rows])
    target = out
    if layer.scales is None:  # as bits, which no conversion can change
        bits = torch.int16 if values.element_size() == 2 else torch.int32
        values, target = values.view(bits), out.view(bits)
    row_words = triton.cdiv(columns, WORD) if words is None else 2 * words.shape[1]
    _unpack[(triton.cdiv(rows, ROWS),)](
        values=values, words=None if words is None else words.view(torch.int32), starts=layer.starts,
        scales=layer.scales, out=target, first=first, rows=rows, columns=columns, row_words=row_words,
        row_values=layer.row_values, groups=1 if layer.scales is None else layer.scales.shape[1],
        EACH=in_each_word(layer), GROUP=layer.format.group or 0, ROWS=ROWS,
        WORDS=min(32, triton.next_power_of_2(row_words)), num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return out


@triton.jit
def _unpack(
    values, words, starts, scales, out, first, rows, columns, row_words, row_values, groups,
    EACH: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    source = first + tl.minimum(row, rows - 1)
    index = tl.arange(0, WORDS)
    passed = tl.zeros([ROWS], tl.int32)
    for tile in range(0, row_words, WORDS):
        w = tile + index
        column = (tile * 32 + tl.arange(0, WORDS * 32))[None, :]
        if words is None:
            weight = tl.load(values + source[:, None].to(tl.int64) * columns + column, mask=column < columns, other=0)
        else:
            word = load_words(words + source[:, None].to(tl.int64) * row_words, w, row_words)
            through, passed = count_through(word, w, passed, row_values, EACH)
            one, two = pairs(word, through, row_begins(values, starts, source, row_values))
            weight = tl.reshape(tl.join(one, two), [ROWS, WORDS * 32])
        if scales is not None:
            group = (w * 32 // GROUP)[None, :] if GROUP > 0 else tl.zeros([1, WORDS], tl.int32)
            scale = tl.load(scales + source[:, None] * groups + group, mask=(w < row_words)[None, :], other=0.0)
            scale = tl.reshape(tl.broadcast_to(scale[:, :, None], [ROWS, WORDS, 32]), [ROWS, WORDS * 32])
            weight = (weight.to(tl.float32) * scale).to(out.dtype.element_ty)
        place = out + row[:, None].to(tl.int64) * columns + column
        tl.store(place, weight, mask=(row < rows)[:, None] & (column < columns))
