"""Packed storage: lossless for every bit pattern, as small as it says, and refused where it cannot hold a weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from pruning.packing import masks
from pruning.packing.format import Format
from pruning.packing.quantise import dequantise, quantise
from pruning.packing.storage import CannotPack, check, decode, encode, row_starts
from tests.pruning.packing_weights import weights

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def bits(weight: torch.Tensor) -> torch.Tensor:
    return weight.view(torch.int32 if weight.element_size() == 4 else torch.int16)


shapes = dict(
    rows=st.integers(1, 9), columns=st.integers(1, 200), sparsity=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99),
)  # fmt: skip


@pytest.mark.parametrize("text", ["auto", "bitmask", "dense", "2:4", "1:8", "int8", "int8:64", "bitmask:int8:128"])
def test_a_format_is_written_as_it_is_read(text):
    assert str(Format.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":int8", "int9", "2:5", "4:4", "0:4", "int8:65", "dense:", "bitmask:64", None, 3])
def test_what_is_no_format_is_refused_with_what_is(text):
    with pytest.raises(RequestError, match="bitmask"):
        Format.parse(text)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 200), seed=st.integers(0, 99))
def test_masks_keep_their_bits(rows, columns, seed):
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.5
    words = masks.pack(mask)
    assert words.dtype == torch.int64 and words.shape == (rows, -(-columns // 64))
    assert torch.equal(masks.unpack(words, columns), mask)
    assert torch.equal(masks.counts(words), mask.sum(1))
    for row, column in [(0, 0), (rows - 1, columns - 1)]:  # the documented place of a bit
        assert bool(int(words[row, column // 64]) >> (column % 64) & 1) == bool(mask[row, column])


@settings(max_examples=80, deadline=None)
@given(**shapes, format=st.sampled_from(["auto", "bitmask", "dense"]))
def test_a_weight_comes_back_bit_for_bit(rows, columns, sparsity, dtype, seed, format):
    weight = weights(rows, columns, sparsity, dtype, seed)
    storage = encode(weight, Format.parse(format))
    check(storage)
    assert storage.format.kind != "auto"
    assert torch.equal(bits(decode(storage)), bits(weight))


@pytest.mark.parametrize("dtype", DTYPES)
def test_signed_zeros_infinities_and_nan_come_back_too(dtype):
    weight = torch.tensor([[0.0, -0.0, float("inf"), float("nan"), 1e-40, -float("inf"), 0.0, 1.0]]).to(dtype)
    storage = encode(weight, Format.parse("bitmask"))
    assert torch.equal(bits(decode(storage)), bits(weight))


@settings(max_examples=60, deadline=None)
@given(**shapes, group=st.sampled_from([None, 64, 128]), kind=st.sampled_from(["auto", "bitmask", "dense"]))
def test_int8_comes_back_as_its_quantised_values(rows, columns, sparsity, dtype, seed, group, kind):
    weight = weights(rows, columns, sparsity, dtype, seed)
    integers, scales = quantise(weight, group)
    expected = dequantise(integers, scales, group, dtype)
    storage = encode(weight, Format(kind, int8=True, group=group))
    check(storage)
    assert torch.equal(decode(storage), expected)
    # Half a step of the largest weight in the group, and the rounding of the dtype.
    steps = scales.repeat_interleave(group or columns, dim=1)[:, :columns]
    slack = expected.float().abs() * 2.0**-8
    assert bool(((expected.float() - weight.float()).abs() <= steps / 2 * 1.001 + slack + 1e-7).all())
    assert bool((expected[weight == 0] == 0).all())


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 6), groups=st.integers(1, 40), of=st.sampled_from([2, 4, 8]), seed=st.integers(0, 99))
def test_n_of_m_keeps_the_same_number_in_every_group(rows, groups, of, seed):
    keep = of // 2
    weight = weights(rows, groups * of, 0.0, torch.bfloat16, seed)
    scores = torch.rand(rows, groups, of, generator=torch.Generator().manual_seed(seed))
    lowest = scores.argsort(-1)[..., : of - keep]
    weight = weight.reshape(rows, groups, of).scatter(-1, lowest, 0).reshape(rows, -1)
    weight[0, :of] = 0  # a group may keep fewer: its zeros are then stored
    storage = encode(weight, Format.parse(f"{keep}:{of}"))
    check(storage)
    assert torch.equal(bits(decode(storage)), bits(weight))
    assert bool((masks.counts(storage.words) == groups * keep).all())


def test_a_weight_that_does_not_keep_the_pattern_is_refused():
    weight = weights(3, 64, 0.0, torch.bfloat16)
    with pytest.raises(CannotPack, match="2 of 4"):
        encode(weight, Format.parse("2:4"))
    with pytest.raises(CannotPack, match="multiple of 4"):
        encode(weight[:, :62], Format.parse("2:4"))


def test_a_weight_that_int8_cannot_hold_is_refused():
    weight = weights(3, 64, 0.0, torch.bfloat16)
    weight[1, 1] = float("inf")
    with pytest.raises(CannotPack, match="not finite"):
        encode(weight, Format.parse("int8"))
    with pytest.raises(CannotPack, match="dtype"):
        encode(weight.double(), Format.parse("bitmask"))


@pytest.mark.parametrize("sparsity, kind", [(0.0, "dense"), (0.03, "dense"), (0.1, "bitmask"), (0.9, "bitmask")])
def test_auto_takes_the_smaller(sparsity, kind):
    weight = weights(64, 512, sparsity, torch.bfloat16)
    chosen, other = (encode(weight, Format.parse(name)) for name in ("auto", "bitmask" if kind == "dense" else "dense"))
    assert chosen.format.kind == kind and chosen.bytes < other.bytes


def test_half_of_the_weights_take_nine_sixteenths():
    storage = encode(weights(256, 2048, 0.5, torch.bfloat16), Format.parse("auto"))
    assert storage.bytes / (256 * 2048 * 2) < 0.57


def test_rows_begin_where_the_rows_before_them_end():
    weight = weights(5, 100, 0.5, torch.float32)
    storage = encode(weight, Format.parse("bitmask"))
    starts = row_starts(storage.words)
    for row in range(5):
        kept = weight[row][weight[row] != 0]
        assert torch.equal(storage.values[int(starts[row]) :][: len(kept)], kept)


@pytest.mark.parametrize(
    "harm",
    [
        lambda storage: setattr(storage, "values", storage.values[:-1]),
        lambda storage: setattr(storage, "words", storage.words[:-1]),
        lambda storage: setattr(storage, "words", torch.full_like(storage.words, -1)),
        lambda storage: setattr(storage, "values", storage.values.float()),
    ],
)
def test_tensors_that_kernels_would_read_past_are_refused(harm):
    storage = encode(weights(4, 100, 0.5, torch.bfloat16), Format.parse("bitmask"))
    harm(storage)
    with pytest.raises(ValueError):
        check(storage)
