"""What the Triton kernels share: bits counted, and the values that belong to the bits of a mask.

Words are taken with 32 bits here, since an instruction on 64 takes two turns; the halves of a stored word are two of
them, the lower one first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

WORD = 32  # columns of a word


def in_each_word(layer: PackedLinear) -> int:
    """How many values every whole word of 32 columns has, where the format says so; otherwise 0."""
    format = layer.format
    return WORD // format.of * format.keep if format.kind == "n:m" and WORD % format.of == 0 else 0


@triton.jit
def ones(word):
    """How many bits are set in each uint32: int32. LLVM knows this way of counting and makes one instruction of it."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def load_words(row_words, w, last):
    """Words [ROWS, WORDS] (uint32) of rows that begin at `row_words` [ROWS, 1]; zero from the one called `last` on."""
    return tl.load(row_words + w[None, :], mask=(w < last)[None, :], other=0).to(tl.uint32, bitcast=True)


@triton.jit
def row_begins(values, starts, row, row_values):
    """Pointers [ROWS, 1, 1] to the first value of each row."""
    if starts is None:
        begin = row.to(tl.int64) * row_values
    else:
        begin = tl.load(starts + row)
    return values + begin[:, None, None]


@triton.jit
def count_through(word, w, passed, row_values, EACH: tl.constexpr):
    """How many bits of its row are set up to the end of each word [ROWS, WORDS], and before the next tile [ROWS].

    passed [ROWS]: how many before this tile. EACH: how many in each word, if that is known; `passed` stays then.
    """
    if EACH > 0:
        through = tl.broadcast_to(tl.minimum((w + 1) * EACH, row_values)[None, :], word.shape)
    else:
        count = ones(word)
        through = tl.cumsum(count, 1) + passed[:, None]
        passed += tl.sum(count, 1)
    return through, passed


@triton.jit
def load_flat(place, mask=None):
    """What lies at pointers [A, B, C], 0 where the mask says no.

    It is loaded as one axis: of several, compilers choose which one neighbouring lanes share, and some take the first.
    """
    flat = tl.reshape(place, [place.numel])
    if mask is None:
        found = tl.load(flat)
    else:
        found = tl.load(flat, mask=tl.reshape(mask, [place.numel]), other=0)
    return tl.reshape(found, place.shape)


@triton.jit
def pairs(word, through, begins):
    """The values of columns 2 i and 2 i + 1 of every word: two tensors [ROWS, WORDS, 16], zeros where bits are zero.

    word, through [ROWS, WORDS]: the bits, and how many are set up to their end in the row; begins [ROWS, 1, 1]: where
    its values begin. Both loads are made whatever the bits say, which is cheaper than to ask: up to two values past the
    row's last are read, which the next row or the padding has.
    """
    rest = word[:, :, None] >> (tl.arange(0, 16) * 2).to(tl.uint32)[None, None, :]
    place = begins + (through[:, :, None] - ones(rest))
    one, two = load_flat(place), load_flat(place + 1)
    first, second = (rest & 1) != 0, (rest & 2) != 0
    none = tl.zeros_like(one)
    return tl.where(first, one, none), tl.where(second, tl.where(first, two, one), none)
