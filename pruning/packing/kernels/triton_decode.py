"""Triton kernels for the product of a packed matrix with a few rows of inputs, as in decoding.

Such a product takes as long as its matrix takes to be read, so what matters is to read the packed bytes once and to
spend few instructions on each weight. A program takes a block of rows and walks their columns in tiles of words of 32
bits. The bits set before a word say where its values begin, the bits set below a column which of them is that column's;
neighbouring lanes then read neighbouring values. Every lane has two neighbouring columns, so that one count of bits
serves both: the second's value is the first's or the one after it.

Only to be imported where Triton is installed. With TRITON_INTERPRET=1 in the environment before Triton is imported,
tensors on the CPU work too, slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from pruning.packing.kernels.triton_bits import (
    WORD,
    count_through,
    in_each_word,
    load_flat,
    load_words,
    ones,
    pairs,
    row_begins,
)

if TYPE_CHECKING:
    from pruning.packing.linear import PackedLinear

MOST_INPUTS = 8  # rows of x that one product may have

# By rows of inputs: the words of 32 columns in a tile and those of one warp. The weights of a warp's words and the sums
# for each row of inputs are in its registers: on compute capability 9.0 these take 54 to 168, with none spilled.
MASKED = {1: (256, 32), 2: (128, 32), 4: (128, 32), 8: (64, 16)}
DENSE = {1: (256, 64), 2: (128, 32), 4: (64, 16), 8: (32, 8)}


@dataclass(frozen=True)
class Plan:
    """How a product is shared out.

    rows: of a program. words: of 32 columns, in a tile, for each of these rows. warps: of a program. split: programs
    that share the columns of a row, each with a part of its sum. All but the last are powers of 2; words are 2 or more.
    """

    rows: int
    words: int
    warps: int
    split: int = 1


@cache
def plan(rows: int, columns: int, inputs: int, masked: bool, processors: int) -> Plan:
    """For a matrix [rows, columns] and `inputs` rows of x (1 to 8) on a GPU with so many multiprocessors.

    More rows in a program make the inputs cheaper; more programs hide more of the memory's latency. These figures come
    from counting instructions and bytes in flight, not from measurements.
    """
    in_tile, in_warp = (MASKED if masked else DENSE)[triton.next_power_of_2(inputs)]
    block = 8
    while block > 2 and triton.cdiv(rows, block) < 3 * processors:
        block //= 2
    words = max(2, min(64, in_tile // block, triton.next_power_of_2(triton.cdiv(columns, WORD))))
    tiles, programs = triton.cdiv(columns, words * WORD), triton.cdiv(rows, block)
    return Plan(block, words, max(1, block * words // in_warp), max(1, min(tiles // 2, processors // programs)))


def multiply(layer: PackedLinear, x: torch.Tensor, how: Plan | None = None) -> torch.Tensor:
    """x [M, C] (contiguous, M from 1 to 8) times the layer's weight, plus its bias: [M, R] in the dtype of x.

    Sums are in float32. With int8 the weights are taken exactly, not as `decode` rounds them.
    """
    inputs, rows, columns = len(x), layer.out_features, layer.in_features
    masked = layer.words is not None
    how = how or plan(rows, columns, inputs, masked, _processors(x.device))
    tiles = triton.cdiv(columns, WORD * how.words)
    share = triton.cdiv(tiles, how.split) * how.words  # words of a part, in whole tiles
    parts = triton.cdiv(tiles * how.words, share)
    out = x.new_empty((parts, inputs, rows), dtype=torch.float32 if parts > 1 else x.dtype)
    grid = (triton.cdiv(rows, how.rows), parts)
    sizes = dict(M=triton.next_power_of_2(inputs), ROWS=how.rows, WORDS=how.words, PARTS=parts)
    common = dict(
        x=x, values=layer.values, bias=layer.bias if parts == 1 else None, out=out, rows=rows, columns=columns,
        inputs=inputs, scales=layer.scales, groups=1 if layer.scales is None else layer.scales.shape[1], share=share,
        GROUP=layer.format.group or 0, **sizes, num_warps=how.warps, enable_fp_fusion=True,
    )  # fmt: skip
    if masked:
        _masked_product[grid](
            **common, words=layer.words.view(torch.int32), starts=layer.starts, row_words=2 * layer.words.shape[1],
            row_values=layer.row_values, EACH=in_each_word(layer),
        )  # fmt: skip
    else:
        _dense_product[grid](**common)
    if parts == 1:
        return out[0]
    total = out.sum(0)
    return (total if layer.bias is None else total + layer.bias).to(x.dtype)


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@triton.jit
def _finish(total, bias, scales, out, row, rows, inputs, GROUP: tl.constexpr, PARTS: tl.constexpr):
    """Scales sums [M, ROWS], or parts of them, where scales are for whole rows; adds the bias, if any; stores them."""
    if scales is not None:
        if GROUP == 0:
            total *= tl.load(scales + tl.minimum(row, rows - 1))[None, :]
    if bias is not None:
        total += tl.load(bias + tl.minimum(row, rows - 1)).to(tl.float32)[None, :]
    number = tl.arange(0, total.shape[0])[:, None]
    if PARTS > 1:
        out += tl.program_id(1) * inputs * rows
    stored = (number < inputs) & (row < rows)[None, :]
    tl.store(out + number * rows + row[None, :], total.to(out.dtype.element_ty), mask=stored)


@triton.jit
def _masked_product(
    x, values, words, starts, bias, out, rows, columns, inputs, scales, groups, share, row_words, row_values,
    EACH: tl.constexpr, PARTS: tl.constexpr, GROUP: tl.constexpr,
    M: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = tl.minimum(row, rows - 1)
    number = tl.arange(0, M)[:, None, None]
    even = (tl.arange(0, 16) * 2)[None, None, :]
    index = tl.arange(0, WORDS)
    begins = row_begins(values, starts, present, row_values)
    word_begins = words + present[:, None].to(tl.int64) * row_words
    first = tl.program_id(1) * share
    last = tl.minimum(first + share, row_words)
    passed = tl.zeros([ROWS], tl.int32)
    if PARTS > 1 and EACH == 0:
        for tile in range(0, first, WORDS):
            passed += tl.sum(ones(load_words(word_begins, tile + index, row_words)), 1)
    total = tl.zeros([M, ROWS, WORDS, 16], tl.float32)
    following = load_words(word_begins, first + index, last)
    for tile in range(first, last, WORDS):
        w = tile + index
        word = following
        following = load_words(word_begins, w + WORDS, last)  # now, so that the next turn need not wait for it
        through, passed = count_through(word, w, passed, row_values, EACH)
        one, two = pairs(word, through, begins)
        column = w[None, :, None] * 32 + even
        place, inside = x + number * columns + column, (column < columns) & (number < inputs)
        x_one = load_flat(place, inside).to(tl.float32)[:, None]
        x_two = load_flat(place + 1, inside & (column + 1 < columns)).to(tl.float32)[:, None]
        one, two = one.to(tl.float32)[None], two.to(tl.float32)[None]
        if GROUP > 0:
            place = scales + present[:, None] * groups + (w * 32 // GROUP)[None, :]
            scale = tl.load(place, mask=(w < last)[None, :], other=0.0)
            total += (one * x_one + two * x_two) * scale[None, :, :, None]
        else:
            total += one * x_one
            total += two * x_two
    _finish(tl.sum(tl.reshape(total, [M, ROWS, WORDS * 16]), 2), bias, scales, out, row, rows, inputs, GROUP, PARTS)


@triton.jit
def _dense_product(
    x, values, bias, out, rows, columns, inputs, scales, groups, share,
    PARTS: tl.constexpr, GROUP: tl.constexpr, M: tl.constexpr, ROWS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    present = tl.minimum(row, rows - 1)
    begins = values + present[:, None].to(tl.int64) * columns
    first = tl.program_id(1) * share * 32
    last = tl.minimum(first + share * 32, columns)
    index = tl.arange(0, WORDS * 32)
    # For one row of x there is no axis of them: with it, the compiler moves every weight through shared memory.
    if M == 1:
        total = tl.zeros([ROWS, WORDS * 32], tl.float32)
    else:
        total = tl.zeros([M, ROWS, WORDS * 32], tl.float32)
    for tile in range(first, last, WORDS * 32):
        column = tile + index
        inside = (column < columns)[None, :]
        weight = tl.load(begins + column[None, :], mask=inside, other=0).to(tl.float32)
        if GROUP > 0:  # of 64 columns or a multiple
            some = tile + tl.arange(0, WORDS // 2) * 64
            place = scales + present[:, None] * groups + (some // GROUP)[None, :]
            scale = tl.load(place, mask=(some < columns)[None, :], other=0.0)[:, :, None]
            weight *= tl.reshape(tl.broadcast_to(scale, [ROWS, WORDS // 2, 64]), [ROWS, WORDS * 32])
        if M == 1:
            total += weight * tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)[None, :]
        else:
            number = tl.arange(0, M)[:, None]
            place = x + number * columns + column[None, :]
            given = tl.load(place, mask=inside & (number < inputs), other=0.0).to(tl.float32)
            total += weight[None] * given[:, None]
    _finish(tl.sum(tl.reshape(total, [M, ROWS, WORDS * 32]), 2), bias, scales, out, row, rows, inputs, GROUP, PARTS)
