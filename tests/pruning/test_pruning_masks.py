"""Masks: exact counts, ties, and the published methods against independent references."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from pruning.anatomy.inspection import keeps_pattern
from pruning.numerics.layer_problem import LayerProblem
from pruning.numerics.mask_rule import MaskRule
from pruning.numerics.selection import keep_highest
from pruning.patterns.block import Block
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.scores.magnitude import magnitude
from pruning.scores.wanda import wanda
from pruning.solvers.none import keep_as_they_are


def scores_of(rows: int, columns: int, levels: int, seed: int) -> torch.Tensor:
    """Scores with only `levels` different values, so that ties are common."""
    return torch.randint(levels, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()


@settings(deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 40),
    sparsity=st.sampled_from([0.0, 0.1, 0.29, 1 / 3, 0.5, 0.7, 0.99]),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    seed=st.integers(0, 99),
)
def test_unstructured_drops_exactly_the_count_and_only_the_lowest(rows, columns, sparsity, levels, seed):
    scores = scores_of(rows, columns, levels, seed)
    keep = Unstructured().keep(scores, sparsity, "row")
    expected = int(columns * sparsity + 1e-9)
    assert ((~keep).sum(1) == expected).all()
    assert int((~keep).sum()) == Unstructured().dropped(rows, columns, sparsity, "row")
    for row, kept in zip(scores, keep, strict=True):
        if 0 < expected < columns:
            assert row[~kept].max() <= row[kept].min()

    layer = Unstructured().keep(scores, sparsity, "layer")
    assert int((~layer).sum()) == int(rows * columns * sparsity + 0.5)
    if 0 < (~layer).sum() < layer.numel():
        assert scores[~layer].max() <= scores[layer].min()
    # What a person says goes before what the method was published with.
    for said, published in (("row", "layer"), ("layer", "row")):
        pattern = Unstructured.parse(f"unstructured:{said}")
        assert torch.equal(pattern.keep(scores, sparsity, published), {"row": keep, "layer": layer}[said])
        assert pattern.dropped(rows, columns, sparsity, published) == int((~{"row": keep, "layer": layer}[said]).sum())


@settings(deadline=None)
@given(
    rows=st.integers(1, 6),
    groups=st.integers(1, 8),
    shape=st.sampled_from([(2, 4), (4, 8), (1, 4), (3, 4), (1, 1), (4, 4)]),
    levels=st.sampled_from([1, 3, 10**6]),
    seed=st.integers(0, 99),
)
def test_n_m_keeps_exactly_n_of_every_m(rows, groups, shape, levels, seed):
    kept, of = shape
    scores = scores_of(rows, groups * of, levels, seed)
    keep = NM(kept, of).keep(scores, 0.0, "row")
    assert (keep.reshape(-1, of).sum(1) == kept).all()
    assert int((~keep).sum()) == NM(kept, of).dropped(rows, groups * of, 0.0, "row")
    for group, mask in zip(scores.reshape(-1, of), keep.reshape(-1, of), strict=True):
        if kept < of:
            assert group[~mask].max() <= group[mask].min()


@settings(deadline=None)
@given(
    high=st.integers(1, 4),
    wide=st.integers(1, 4),
    down=st.integers(1, 5),
    across=st.integers(1, 5),
    sparsity=st.sampled_from([0.0, 0.29, 0.5, 0.9, 0.99]),
    levels=st.sampled_from([2, 10**6]),
    seed=st.integers(0, 99),
)
def test_blocks_go_whole_and_the_lowest_first(high, wide, down, across, sparsity, levels, seed):
    pattern = Block.parse(f"block:{high}x{wide}")
    rows, columns = high * down, wide * across
    assert pattern.misfit(rows, columns) is None
    scores = scores_of(rows, columns, levels, seed)
    keep = pattern.keep(scores, sparsity, "row")
    assert int((~keep).sum()) == pattern.dropped(rows, columns, sparsity, "row")
    gone, stay = [], []
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            corner = keep[top : top + high, left : left + wide]
            assert bool(corner.all()) or not bool(corner.any())
            total = float(scores[top : top + high, left : left + wide].sum())
            (stay if bool(corner.all()) else gone).append(total)
    assert len(gone) == int(down * across * sparsity + 0.5)
    if gone and stay:
        assert max(gone) <= min(stay)


def test_blocks_that_do_not_tile_say_which_side_is_wrong():
    assert "6 outputs are no multiple of 4" in Block.parse("block:4x2").misfit(6, 8)
    assert "9 inputs are no multiple of 2" in Block.parse("block:4x2").misfit(8, 9)
    assert Block.parse("2:4") is None
    for text in ("block:", "block:4", "block:0x4", "block:4x4x4"):
        with pytest.raises(RequestError, match="block:RxC"):
            Block.parse(text)


def test_among_equals_the_leftmost_go():
    assert keep_highest(torch.zeros(2, 5), 2).tolist() == [[False, False, True, True, True]] * 2
    assert keep_highest(torch.tensor([[1.0, 0.0, 1.0, 1.0]]), 2).tolist() == [[False, False, True, True]]


def test_one_of_four_keeps_one():
    """Libraries disagree whether N counts what is kept or what goes; 2:4 hides it, 1:4 does not."""
    keep = NM.parse("1:4").keep(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), 0.0, "row")
    assert keep.tolist() == [[False, True, False, False]]
    assert NM.parse("1:4").implied_sparsity == 0.75


@pytest.mark.parametrize("text", ["0:4", "5:4", "0:0"])
def test_senseless_n_m_is_refused(text):
    with pytest.raises(RequestError, match="1 <= N <= M"):
        NM.parse(text)


def reference_wanda(weight: np.ndarray, inputs: np.ndarray, sparsity: float) -> np.ndarray:
    metric = np.abs(weight) * np.sqrt((inputs**2).sum(axis=0))
    keep = np.ones(weight.shape, dtype=bool)
    for row, order in enumerate(np.argsort(metric, axis=1, kind="stable")):
        keep[row, order[: int(weight.shape[1] * sparsity)]] = False
    return keep


def reference_wanda_2_4(weight: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    metric = np.abs(weight) * np.sqrt((inputs**2).sum(axis=0))
    keep = np.ones(weight.shape, dtype=bool)
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], 4):
            keep[row, start + np.argsort(metric[row, start : start + 4], kind="stable")[:2]] = False
    return keep


def reference_magnitude(weight: np.ndarray, sparsity: float) -> np.ndarray:
    keep = np.ones(weight.size, dtype=bool)
    keep[np.argsort(np.abs(weight).ravel(), kind="stable")[: round(weight.size * sparsity)]] = False
    return keep.reshape(weight.shape)


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
def test_masks_equal_the_references(tiny_model, sparsity):
    model = tiny_model("llama")
    generator = torch.Generator().manual_seed(1)
    for layer in (model.model.layers[1].self_attn.q_proj, model.model.layers[2].mlp.down_proj):
        weight = layer.weight.detach()
        scale = torch.rand(weight.shape[1], generator=generator)
        inputs = torch.randn(50, weight.shape[1], generator=generator) * scale
        norms = {"column_norms": inputs.double().square().sum(0).sqrt()}
        numbers = weight.double().numpy(), inputs.double().numpy()
        found = Unstructured().keep(wanda(weight, norms), sparsity, "row")
        assert (found.numpy() == reference_wanda(*numbers, sparsity)).all()
        found = NM(2, 4).keep(wanda(weight, norms), 0.5, "row")
        assert (found.numpy() == reference_wanda_2_4(*numbers)).all()
        found = Unstructured().keep(magnitude(weight, {}), sparsity, "layer")
        assert (found.numpy() == reference_magnitude(numbers[0], sparsity)).all()


def test_surviving_weights_keep_their_bits():
    weight = torch.tensor([[-0.0, 1.5, 3e-40, -2.0]])
    keep = torch.tensor([[True, False, True, True]])
    solution = keep_as_they_are(LayerProblem(weight, keep.float(), MaskRule(Unstructured(), 0.25, "row"), {}))
    solved = solution.weight
    assert torch.equal(solution.keep, keep)
    assert torch.equal(solved.view(torch.int32)[keep], weight.view(torch.int32)[keep])
    assert solved[~keep].tolist() == [0.0]


def test_the_pattern_that_a_weight_keeps_is_recognised():
    dense = torch.ones(4, 16)
    assert keeps_pattern(dense) is None
    for name in ("2:4", "1:4", "3:8"):
        pattern = NM.parse(name)
        keep = pattern.keep(torch.rand(4, 16, generator=torch.Generator().manual_seed(0)), 0.0, "row")
        assert keeps_pattern(dense * keep) == name
