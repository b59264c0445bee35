"""Scores against short references written from the formulas, on real layers, and what every score must do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning.numerics.mask_rule import MaskRule
from pruning.patterns.unstructured import Unstructured
from pruning.scores.obs import obs
from pruning.scores.random import random
from pruning.scores.ria import ria
from pruning.scores.wanda import wanda


def problem_of(rows: int, columns: int, tokens: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A random weight and the statistics of random inputs, some channels much larger than others."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, columns, generator=generator) * torch.logspace(-1, 1, columns)
    gram = inputs.t() @ inputs
    statistics = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
    return torch.randn(rows, columns, generator=generator), statistics


def reference_ria(weight: np.ndarray, norms: np.ndarray) -> np.ndarray:
    scores = np.zeros_like(weight)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            size = abs(weight[i, j])
            scores[i, j] = (size / abs(weight[:, j]).sum() + size / abs(weight[i]).sum()) * norms[j] ** 0.5
    return scores


def test_ria_is_its_formula():
    weight, statistics = problem_of(5, 7, 50, 0)
    expected = reference_ria(weight.double().numpy(), statistics["column_norms"].numpy())
    assert np.allclose(ria(weight, statistics), expected, rtol=1e-5)


def test_wanda_and_ria_choose_the_reference_masks_on_the_embedded_model(embedded_layers):
    for name, weight, statistics in embedded_layers:
        norms = statistics["column_norms"].numpy()
        size = weight.double().abs().numpy()
        references = {
            wanda: size * norms,
            ria: (size / size.sum(0, keepdims=True) + size / size.sum(1, keepdims=True)) * np.sqrt(norms),
        }
        for score, expected in references.items():
            keep = MaskRule(Unstructured(), 0.5, "row").keep(score(weight, statistics)).numpy()
            for row, scores in zip(keep, expected, strict=True):
                dropped = np.argsort(scores, kind="stable")[: len(scores) // 2]
                assert not row[dropped].any(), f"{name}, {score.__name__}"
                assert row.sum() == len(scores) - len(scores) // 2


def test_obs_is_the_error_that_remains_after_the_other_weights_have_adapted():
    weight, statistics = problem_of(1, 6, 40, 3)
    row, gram = weight[0].double().numpy(), statistics["gram"].double().numpy()
    damped = gram + 1e-3 * np.diag(gram.diagonal())
    for gone in range(6):
        others = [j for j in range(6) if j != gone]
        change = np.zeros(6)
        change[gone] = -row[gone]
        change[others] = np.linalg.solve(damped[np.ix_(others, others)], row[gone] * damped[others, gone])
        assert float(obs(weight, statistics)[0, gone]) == pytest.approx(change @ damped @ change, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 6), columns=st.integers(2, 12), tokens=st.integers(1, 30), seed=st.integers(0, 99))
def test_scores_are_finite_and_a_dead_channel_goes_first(rows, columns, tokens, seed):
    weight, statistics = problem_of(rows, columns, tokens, seed)
    gram = statistics["gram"].clone()
    gram[0], gram[:, 0] = 0, 0
    statistics = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
    for score in (wanda, ria, obs):
        scores = score(weight, statistics)
        assert scores.shape == weight.shape and scores.dtype == torch.float32
        assert bool(scores.isfinite().all())
        assert (scores[:, 0] == 0).all() and (scores[:, 1:] > 0).all()


def test_a_row_and_a_column_of_zeros_score_zero():
    weight, statistics = problem_of(4, 5, 20, 0)
    weight[2], weight[:, 3] = 0, 0
    scores = ria(weight, statistics)
    assert bool(scores.isfinite().all()) and (scores[2] == 0).all() and (scores[:, 3] == 0).all()


def test_random_scores_repeat_and_differ_between_projections():
    weight, _ = problem_of(8, 16, 4, 0)
    other = weight.clone()
    other[0, 0] += 1
    assert torch.equal(random(weight, {}), random(weight.clone(), {}))
    assert torch.equal(random(weight, {}), random(weight.t().contiguous().t(), {}))
    assert not torch.equal(random(weight, {}), random(other, {}))
    assert not torch.equal(random(weight, {}).flatten(), random(weight.reshape(16, 8), {}).flatten())
    scores = random(torch.zeros(100, 100), {})
    assert 0 <= scores.min() and scores.max() < 1 and abs(float(scores.mean()) - 0.5) < 0.02
