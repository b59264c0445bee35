"""Triton kernels for a few rows of inputs, as in decoding, and for making dense rows of a packed matrix.

A product with few inputs takes as long as its matrix takes to be read, so what matters is to read the packed bytes once
and to spend few instructions on each weight. A program takes a block of rows and walks their columns in tiles of words
of 32 bits. The bits set before a word say where its values begin, the bits set below a column which of them is that
column's; neighbouring lanes then read neighbouring values. Every lane has two neighbouring columns, so that one count of
bits serves both: the second's value is the first's or the one after it.

Only to be imported where Triton is installed. With TRITON_INTERPRET=1 in the environment before that, tensors on the CPU
work too, slowly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

MOST_INPUTS = 8  # rows of x that one product may have
WORD = 32  # columns of a word: instructions on 64 bits take two turns


@dataclass(frozen=True)
class Plan:
    """How a product is shared out.

    rows: of a program. words: of 32 columns, in a tile. warps: of a program. split: programs that share the columns of
    a row, each with a part of the sum. The first two are powers of 2.
    """

    rows: int
    words: int
    warps: int
    split: int = 1


def plan(rows: int, columns: int, inputs: int, processors: int, masked: bool) -> Plan:
    """A plan for a matrix [rows, columns] and `inputs` rows of x on a GPU with so many multiprocessors.

    More rows in a program make the inputs cheaper, more programs hide more of the memory's latency.
    """
    words = triton.cdiv(columns, WORD)
    lanes = 16 if masked else 32  # weights of a tile that a lane may hold: those times `inputs` sums are in registers
    block = max(1, min(8, 16 // triton.next_power_of_2(inputs)))
    while block > 2 and triton.cdiv(rows, block) < 3 * processors:
        block //= 2
    tile = min(64 if block < 4 else 32, triton.next_power_of_2(words))
    warps = max(1, min(8, block * tile * WORD // (32 * 2 * lanes)))
    programs, tiles = triton.cdiv(rows, block), triton.cdiv(words, tile)
    return Plan(block, tile, warps, max(1, min(tiles // 4, processors // programs)))


def multiply(layer: PackedLinear, x: torch.Tensor, how: Plan | None = None) -> torch.Tensor:
    """x [M, C] (contiguous, M from 1 to 8) times the layer's weight, plus its bias: [M, R] in the dtype of x.

    Sums are in float32. With int8 the weights are taken exactly, not as `decode` rounds them.
    """
    inputs, (rows, columns) = len(x), (layer.out_features, layer.in_features)
    masked = layer.words is not None
    how = how or plan(rows, columns, inputs, _processors(x.device), masked)
    tiles = triton.cdiv(columns, WORD * how.words)
    share = triton.cdiv(tiles, how.split)
    how = replace(how, split=triton.cdiv(tiles, share))
    split = how.split > 1
    out = x.new_empty(how.split, inputs, rows, dtype=torch.float32) if split else x.new_empty(inputs, rows)
    grid = (triton.cdiv(rows, how.rows), how.split)
    options = dict(M=triton.next_power_of_2(inputs), ROWS=how.rows, WORDS=how.words, num_warps=how.warps)
    scales = dict(
        scales=layer.scales, groups=1 if layer.scales is None else layer.scales.shape[1], GROUP=layer.format.group or 0
    )
    common = dict(bias=None if split else layer.bias, out=out, rows=rows, columns=columns, inputs=inputs, **scales)
    if masked:
        _masked_product[grid](
            x, layer.values, layer.words.view(torch.int32), layer.starts, **common, share=share * how.words,
            row_words=2 * layer.words.shape[1], row_values=layer.row_values, EACH=_in_each_word(layer),
            SPLIT=how.split, **options, enable_fp_fusion=True,
        )  # fmt: skip
    else:
        _dense_product[grid](
            x, layer.values, **common, share=share * how.words * WORD, SPLIT=how.split, **options, enable_fp_fusion=True
        )
    if not split:
        return out
    total = out.sum(0)
    return (total if layer.bias is None else total + layer.bias).to(x.dtype)


def unpack(layer: PackedLinear, out: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Writes rows of the layer's weight, from the one called `first`, to `out` [n, C] (contiguous) and returns it.

    `out` has the layer's dtype; the rows are those that `pruning.packing.storage.decode` gives, bit for bit.
    """
    rows, columns = out.shape
    values, target = layer.values.detach(), out
    if layer.scales is None:  # as bits, which no conversion can change
        bits = torch.int16 if values.element_size() == 2 else torch.int32
        values, target = values.view(bits), out.view(bits)
    words = layer.words
    if words is None:
        if layer.scales is None:
            return out.copy_(layer.values[first : first + rows])
    row_words = triton.cdiv(columns, WORD) if words is None else 2 * words.shape[1]
    tile = min(32, triton.next_power_of_2(row_words))
    _unpack[(triton.cdiv(rows, 4),)](
        values, None if words is None else words.view(torch.int32), layer.starts, layer.scales, target, first, rows,
        columns, row_words, layer.row_values, 1 if layer.scales is None else layer.scales.shape[1],
        EACH=_in_each_word(layer), GROUP=layer.format.group or 0, ROWS=4, WORDS=tile, num_warps=4,
        enable_fp_fusion=True,
    )  # fmt: skip
    return out


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _in_each_word(layer: PackedLinear) -> int:
    """How many values every word of 32 columns has, where the format says so; otherwise 0."""
    format = layer.format
    return WORD // format.of * format.keep if format.kind == "n:m" and WORD % format.of == 0 else 0


@triton.jit
def _ones(word):
    """The number of bits set in each uint32: LLVM knows this way of counting and makes one instruction of it."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def _words(row_words, w, last):
    """Words [ROWS, WORDS] (uint32) of rows that begin at `row_words` [ROWS, 1]; zero from the one called `last` on."""
    return tl.load(row_words + w[None, :], mask=(w < last)[None, :], other=0).to(tl.uint32, bitcast=True)


@triton.jit
def _pairs(word, before, row_values):
    """The values of columns 2 i and 2 i + 1 of every word: two tensors [ROWS, WORDS, 16], zeros where bits are zero.

    word, before [ROWS, WORDS]: the bits, and how many are set before them in the row; row_values [ROWS, 1, 1]: where
    its values begin. Both loads are made whatever the bits say, which is cheaper than to ask: up to one value past the
    row's last is read, which the next row or the padding has.
    """
    even = (1 << (tl.arange(0, 16) * 2).to(tl.uint32))[None, None, :]
    bits = word[:, :, None]
    place = row_values + (before[:, :, None] + _ones(bits & (even - 1)))
    one, two = tl.load(place), tl.load(place + 1)
    first, second = (bits & even) != 0, (bits & (even + even)) != 0
    none = tl.zeros_like(one)
    return tl.where(first, one, none), tl.where(second, tl.where(first, two, one), none)


@triton.jit
def _row_begins(values, starts, row, row_values):
    """Pointers [ROWS, 1, 1] to the first value of each row."""
    if starts is None:
        begin = row.to(tl.int64) * row_values
    else:
        begin = tl.load(starts + row)
    return values + begin[:, None, None]


@triton.jit
def _finish(total, bias, scales, out, row, rows, inputs, GROUP: tl.constexpr, SPLIT: tl.constexpr):
    """Scales whole rows, adds the bias and stores sums [M, ROWS], or parts of sums that are still to be added."""
    if scales is not None:
        if GROUP == 0:
            total *= tl.load(scales + tl.minimum(row, rows - 1))[None, :]
    if bias is not None:
        total += tl.load(bias + tl.minimum(row, rows - 1)).to(tl.float32)[None, :]
    number = tl.arange(0, total.shape[0])[:, None]
    if SPLIT > 1:
        out += tl.program_id(1) * inputs * rows
    stored = (number < inputs) & (row < rows)[None, :]
    tl.store(out + number * rows + row[None, :], total.to(out.dtype.element_ty), mask=stored)


@triton.jit
def _masked_product(
    x, values, words, starts, bias, out, rows, columns, inputs, scales, groups, share, row_words, row_values,
    EACH: tl.constexpr, SPLIT: tl.constexpr, GROUP: tl.constexpr,
    M: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = tl.minimum(row, rows - 1)
    number = tl.arange(0, M)[:, None, None]
    even = (tl.arange(0, 16) * 2)[None, None, :]
    index = tl.arange(0, WORDS)
    row_begins = _row_begins(values, starts, present, row_values)
    word_begins = words + present[:, None].to(tl.int64) * row_words
    first = tl.program_id(1) * share
    last = tl.minimum(first + share, row_words)
    passed = tl.zeros([ROWS], tl.int32)
    if SPLIT > 1 and EACH == 0:
        for tile in range(0, first, WORDS):
            passed += tl.sum(_ones(_words(word_begins, tile + index, row_words)), 1)
    total = tl.zeros([M, ROWS, WORDS, 16], tl.float32)
    following = _words(word_begins, first + index, last)
    for tile in range(first, last, WORDS):
        w = tile + index
        word = following
        following = _words(word_begins, w + WORDS, last)  # now, so that the next turn need not wait for it
        if EACH > 0:
            before = tl.broadcast_to(tl.minimum(w * EACH, row_values)[None, :], [ROWS, WORDS])
        else:
            count = _ones(word)
            before = tl.cumsum(count, 1) - count + passed[:, None]
            passed += tl.sum(count, 1)
        one, two = _pairs(word, before, row_begins)
        column = w[None, :, None] * 32 + even
        place = x + number * columns + column
        x_one = tl.load(place, mask=(column < columns) & (number < inputs), other=0.0).to(tl.float32)[:, None]
        x_two = tl.load(place + 1, mask=(column + 1 < columns) & (number < inputs), other=0.0).to(tl.float32)[:, None]
        one, two = one.to(tl.float32)[None], two.to(tl.float32)[None]
        if GROUP > 0:
            place = scales + present[:, None] * groups + (w * 32 // GROUP)[None, :]
            scale = tl.load(place, mask=(w < last)[None, :], other=0.0)
            total += (one * x_one + two * x_two) * scale[None, :, :, None]
        else:
            total += one * x_one
            total += two * x_two
    total = tl.sum(tl.reshape(total, [M, ROWS, WORDS * 16]), 2)
    _finish(total, bias, scales, out, row, rows, inputs, GROUP, SPLIT)


@triton.jit
def _dense_product(
    x, values, bias, out, rows, columns, inputs, scales, groups, share,
    SPLIT: tl.constexpr, GROUP: tl.constexpr, M: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = tl.minimum(row, rows - 1)
    number = tl.arange(0, M)[:, None, None]
    first = tl.program_id(1) * share
    last = tl.minimum(first + share, columns)
    block = tl.arange(0, WORDS // 2) * 64
    total = tl.zeros([M, ROWS, WORDS // 2, 64], tl.float32)
    for tile in range(first, last, WORDS * 32):
        column = (tile + block)[:, None] + tl.arange(0, 64)[None, :]
        inside = (column < columns)[None]
        weight = tl.load(
            values + present[:, None, None].to(tl.int64) * columns + column[None], mask=inside, other=0
        ).to(tl.float32)
        if GROUP > 0:
            place = scales + present[:, None] * groups + ((tile + block) // GROUP)[None, :]
            weight *= tl.load(place, mask=(tile + block < columns)[None, :], other=0.0)[:, :, None]
        inputs_here = tl.load(x + number * columns + column[None], mask=inside & (number < inputs), other=0.0)
        total += weight[None] * inputs_here.to(tl.float32)[:, None]
    total = tl.sum(tl.reshape(total, [M, ROWS, WORDS * 32]), 2)
    _finish(total, bias, scales, out, row, rows, inputs, GROUP, SPLIT)


@triton.jit
def _unpack(
    values, words, starts, scales, out, first, rows, columns, row_words, row_values, groups,
    EACH: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    source = first + tl.minimum(row, rows - 1)
    index = tl.arange(0, WORDS)
    pair = (tl.arange(0, 16)[:, None] * 2 + tl.arange(0, 2)[None, :])[None, None]
    passed = tl.zeros([ROWS], tl.int32)
    for tile in range(0, row_words, WORDS):
        w = tile + index
        column = w[None, :, None, None] * 32 + pair
        if words is None:
            place = values + source[:, None, None, None].to(tl.int64) * columns + column
            weight = tl.load(place, mask=column < columns, other=0)
        else:
            word = _words(words + source[:, None].to(tl.int64) * row_words, w, row_words)
            if EACH > 0:
                before = tl.broadcast_to(tl.minimum(w * EACH, row_values)[None, :], [ROWS, WORDS])
            else:
                count = _ones(word)
                before = tl.cumsum(count, 1) - count + passed[:, None]
                passed += tl.sum(count, 1)
            one, two = _pairs(word, before, _row_begins(values, starts, source, row_values))
            weight = tl.join(one, two)
        if scales is not None:
            group = (w * 32 // GROUP)[None, :] if GROUP > 0 else tl.zeros([1, WORDS], tl.int32)
            scale = tl.load(scales + source[:, None] * groups + group, mask=(w < row_words)[None, :], other=0.0)
            weight = (weight.to(tl.float32) * scale[:, :, None, None]).to(out.dtype.element_ty)
        place = out + row[:, None, None, None].to(tl.int64) * columns + column
        tl.store(place, weight, mask=(row < rows)[:, None, None, None] & (column < columns))
