"""Solvers against short references written from the formulas, on real layers, and what every solver must keep to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import EspalierError, RequestError
from pruning import PruningConfig
from pruning.collect.sensitivity import output_sensitivity
from pruning.numerics.gram import damp, normalise
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.mask_rule import MaskRule
from pruning.patterns.block import Block
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.registry import entries, find
from pruning.scores.fisher import fisher
from pruning.scores.obs import obs
from pruning.scores.wanda import wanda
from pruning.solvers.alps import alps
from pruning.solvers.exchange import exchange
from pruning.solvers.none import keep_as_they_are
from pruning.solvers.refit import refit
from pruning.solvers.sparsegpt import sparsegpt
from tests.pruning.textbook import least_squares, textbook_alps, textbook_sparsegpt

SCORES = {"wanda": wanda, "obs": obs}
SOLVERS = {"refit": refit, "sparsegpt": sparsegpt, "alps": alps, "exchange": exchange}
ROW, LAYER = Unstructured("row"), Unstructured("layer")


def solve(solver, weight, gram, pattern, sparsity, method="wanda") -> Solution:
    """What a solver makes of a weight, given the scores of `method`."""
    statistics = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
    scores = SCORES[method](weight, statistics)
    return solver(LayerProblem(weight, scores, MaskRule(pattern, sparsity, "row"), statistics, method))


def random_problem(rows: int, columns: int, tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, columns] and the Gram matrix of correlated inputs of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) + 2 * torch.eye(columns)
    inputs = torch.randn(tokens, columns, generator=generator) @ mixing * torch.logspace(-1, 1, columns)
    return torch.randn(rows, columns, generator=generator), inputs.t() @ inputs


def damped_error(weight: torch.Tensor, pruned: torch.Tensor, gram: torch.Tensor) -> torch.Tensor:
    """The error per row that the refit minimises, fp64."""
    matrix, norms = normalise(gram)
    lost = (weight.double() - pruned.double()) * norms
    return ((lost @ damp(matrix, 1e-3).matrix) * lost).sum(1)


@pytest.mark.parametrize(("pattern", "sparsity"), [(LAYER, 0.5), (LAYER, 0.7), (NM(2, 4), 0.5), (NM(4, 8), 0.5)])
def test_sparsegpt_is_the_textbook_loop_on_the_embedded_model(embedded_layers, pattern, sparsity):
    for name, weight, statistics in embedded_layers:
        gram = statistics["gram"]
        expected = textbook_sparsegpt(weight.numpy(), gram.numpy(), pattern, sparsity)
        solution = solve(sparsegpt, weight, gram, pattern, sparsity, "obs")
        assert np.array_equal(solution.keep.numpy(), expected != 0), name
        assert np.allclose(solution.weight, expected, atol=1e-4), name


@pytest.mark.parametrize(("pattern", "sparsity"), [(ROW, 0.5), (NM(2, 4), 0.5)])
def test_alps_is_the_plain_admm_on_the_embedded_model(embedded_layers, pattern, sparsity):
    target = MaskRule(pattern, sparsity, "row")
    for name, weight, statistics in embedded_layers:
        gram = statistics["gram"]

        def support(values: np.ndarray) -> np.ndarray:
            return target.keep(torch.from_numpy(np.abs(values))).numpy()

        expected = textbook_alps(weight.double().numpy(), gram.double().numpy(), support)
        # A hundred rounds turn the rounding of fp32 into other choices between near equals: exact is fp64.
        exact = solve(alps, weight.double(), gram, pattern, sparsity)
        assert np.array_equal(exact.keep.numpy(), expected != 0), name
        assert np.allclose(exact.weight, expected, atol=1e-4), name
        usual = solve(alps, weight, gram, pattern, sparsity)
        assert (usual.keep == exact.keep).float().mean() > 0.99, name
        assert float(damped_error(weight, usual.weight, gram).sum()) == pytest.approx(
            float(damped_error(weight, exact.weight, gram).sum()), rel=5e-3
        )


def test_refit_comes_to_the_least_squares_solution():
    weight, gram = random_problem(6, 12, 200, 0)
    solution = solve(refit, weight, gram, ROW, 0.5)
    matrix, norms = normalise(gram)
    dense = (weight * norms).numpy()
    expected = least_squares(dense, damp(matrix, 1e-3).matrix.numpy(), solution.keep.numpy()) / norms.numpy()
    assert np.allclose(solution.weight, expected, atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 8),
    groups=st.integers(1, 5),
    tokens=st.integers(1, 60),
    pattern=st.sampled_from([(ROW, 0.4), (LAYER, 0.6), (NM(2, 4), 0.5), (NM(1, 4), 0.75)]),
    seed=st.integers(0, 999),
)
def test_exchange_ends_no_worse_than_refit_and_refit_no_worse_than_nothing(rows, groups, tokens, pattern, seed):
    weight, gram = random_problem(rows, 4 * groups, tokens, seed)
    nothing, refitted, exchanged = (
        damped_error(weight, solve(solver, weight, gram, *pattern).weight, gram)
        for solver in (keep_as_they_are, refit, exchange)
    )
    slack = 1e-4 * nothing.max() + 1e-9  # refit takes twenty steps where exchange at first takes ten, both in fp32
    assert (refitted <= nothing + slack).all()
    assert exchanged.sum() <= refitted.sum() + slack
    if pattern[0] is not LAYER:  # there the rows trade places
        assert (exchanged <= refitted + slack).all()


def test_exchange_finds_what_a_mask_by_size_misses():
    """Of two inputs that are the same but for noise, the larger weights both stay by size; one of them is enough."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 8, generator=generator)
    inputs[:, 1] = inputs[:, 0] + 0.01 * inputs[:, 1]
    gram = inputs.t() @ inputs
    weight = torch.tensor([[2.0, 2.0, 1.5, 1.4, 1.3, 0.1, 0.1, 0.1]])
    keep = solve(exchange, weight, gram, ROW, 0.5).keep[0]
    assert keep[2:5].all() and keep[0] != keep[1]


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(SOLVERS)),
    method=st.sampled_from(sorted(SCORES)),
    rows=st.integers(1, 6),
    groups=st.integers(1, 20),
    pattern=st.sampled_from([(ROW, 0.3), (LAYER, 0.55), (LAYER, 0.99), (NM(2, 4), 0.5), (NM(4, 8), 0.5)]),
    dead=st.booleans(),
    seed=st.integers(0, 99),
)
def test_zeros_are_where_the_target_says_exactly_as_many(name, method, rows, groups, pattern, dead, seed):
    weight, gram = random_problem(rows, 8 * groups, 300, seed)
    if dead:
        gram[:3], gram[:, :3] = 0, 0
    solution = solve(SOLVERS[name], weight, gram, *pattern, method)
    target = MaskRule(*pattern, "row")
    assert int((~solution.keep).sum()) == target.dropped(*weight.shape)
    assert bool(solution.weight.isfinite().all()) and solution.weight.dtype == torch.float32
    assert (solution.weight[~solution.keep] == 0).all()
    if isinstance(pattern[0], NM):
        assert (solution.keep.reshape(-1, pattern[0].of).sum(1) == pattern[0].kept).all()


def test_exchange_gives_places_to_the_outputs_that_the_loss_hears(embedded_layers):
    _, weight, statistics = embedded_layers[0]
    information = torch.logspace(-2, 2, len(weight), dtype=torch.float64)
    norms = statistics["column_norms"]
    gradients = (information.sqrt()[:, None] * norms).float()
    known = statistics | {"gradient_l2": gradients}
    assert torch.allclose(output_sensitivity(known), information, rtol=1e-4)

    def lost(values: dict) -> tuple[float, torch.Tensor]:
        scores = (fisher if "gradient_l2" in values else obs)(weight, values)
        solution = exchange(LayerProblem(weight, scores, MaskRule(LAYER, 0.5, "row"), values))
        assert int(solution.keep.sum()) == weight.numel() - weight.numel() // 2
        return float((damped_error(weight, solution.weight, values["gram"]) * information).sum()), solution.keep.sum(1)

    (weighed, kept), (plain, _) = lost(known), lost(statistics)
    assert weighed < 0.5 * plain
    assert kept[-100:].sum() > 1.5 * kept[:100].sum()


def test_a_refit_knows_no_other_row(embedded_layers):
    _, weight, statistics = embedded_layers[0]
    gram = statistics["gram"]
    known = statistics | {"gradient_l2": torch.rand(weight.shape, generator=torch.Generator().manual_seed(0))}
    target = MaskRule(ROW, 0.5, "row")
    scores = wanda(weight, statistics)
    plain, weighed = (refit(LayerProblem(weight, scores, target, values)).weight for values in (statistics, known))
    assert torch.equal(plain != 0, weighed != 0)
    errors = damped_error(weight, plain, gram)  # conjugate gradients round: the weights differ more than these
    assert torch.allclose(errors, damped_error(weight, weighed, gram), rtol=1e-3)
    assert errors.sum() < 0.7 * damped_error(weight, weight.masked_fill(plain == 0, 0), gram).sum()


def test_scores_from_a_singular_gram_are_said_without_a_solver():
    weight, few = random_problem(4, 24, 5, 0)
    (warning,) = solve(keep_as_they_are, weight, few, ROW, 0.5, "obs").warnings
    assert "singular" in warning
    assert not solve(keep_as_they_are, weight, few, ROW, 0.5, "wanda").warnings


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("method", ["wanda", "obs"])
def test_where_everything_stays_nothing_changes(name, method):
    weight, gram = random_problem(4, 16, 100, 1)
    gram[2], gram[:, 2] = 0, 0
    for pattern in (ROW, LAYER, NM(4, 4)):
        solution = solve(SOLVERS[name], weight, gram, pattern, 0.0, method)
        assert solution.keep.all()
        if name != "alps":  # which moves all weights at once
            assert torch.equal(solution.weight, weight)
        assert torch.allclose(solution.weight, weight, atol=1e-4)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_what_is_gone_for_good_does_not_come_back(name):
    weight, gram = random_problem(5, 16, 100, 2)
    statistics = {"gram": gram, "column_norms": gram.diagonal().double().sqrt()}
    gone = torch.zeros(5, 16, dtype=torch.bool)
    gone[:, ::4] = True
    for method, pattern in (("wanda", ROW), ("wanda", NM(2, 4)), ("obs", LAYER), ("obs", NM(2, 4))):
        scores = SCORES[method](weight, statistics).masked_fill(gone, -torch.inf)
        solution = SOLVERS[name](LayerProblem(weight, scores, MaskRule(pattern, 0.5, "row"), statistics, method))
        assert not solution.keep[gone].any()
        assert int((~solution.keep).sum()) == 40


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_singular_gram_is_damped_more_and_it_is_said(name):
    weight, few = random_problem(4, 24, 5, 0)
    _, enough = random_problem(4, 24, 500, 0)
    twice = enough.clone()
    twice[7], twice[:, 7] = twice[3], twice[:, 3]
    for gram in (few, twice):
        solution = solve(SOLVERS[name], weight, gram, ROW, 0.5)
        assert bool(solution.weight.isfinite().all())
        assert len(solution.warnings) == 1 and "singular" in solution.warnings[0] and "0.1" in solution.warnings[0]
    assert not solve(SOLVERS[name], weight, enough, ROW, 0.5).warnings


def test_the_ladder_climbs_until_the_matrix_can_be_factored_and_no_further():
    matrix = torch.eye(3)
    matrix[0, 1] = matrix[1, 0] = 1.5  # no Gram matrix: its lowest eigenvalue is -0.5
    damped = damp(matrix, 1e-3)
    assert damped.damping == 1.0
    assert torch.allclose(damped.cholesky @ damped.cholesky.t(), (matrix + torch.eye(3)).double())
    matrix[0, 1] = matrix[1, 0] = 20
    with pytest.raises(EspalierError, match="cannot be factored"):
        damp(matrix, 1e-3)


def test_sparsegpt_keeps_the_mask_of_any_other_method(embedded_layers):
    _, weight, statistics = embedded_layers[0]
    gram = statistics["gram"]
    kept = solve(keep_as_they_are, weight, gram, ROW, 0.5)
    updated = solve(sparsegpt, weight, gram, ROW, 0.5)
    assert torch.equal(updated.keep, kept.keep)
    assert damped_error(weight, updated.weight, gram).sum() < 0.9 * damped_error(weight, kept.weight, gram).sum()
    assert not torch.equal(solve(sparsegpt, weight, gram, ROW, 0.5, "obs").keep, kept.keep)


@pytest.mark.parametrize("of", [3, 6, 24, 48, 160])
def test_sparsegpt_chooses_in_groups_of_any_width(of):
    generator = torch.Generator().manual_seed(of)
    inputs = torch.randn(2000, 2 * of, generator=generator)
    weight, gram = torch.randn(5, 2 * of, generator=generator), inputs.t() @ inputs
    pattern = NM(of // 3, of)
    expected = textbook_sparsegpt(weight.numpy(), gram.double().numpy(), pattern, 0)
    solution = solve(sparsegpt, weight, gram, pattern, 2 / 3, "obs")
    assert np.array_equal(solution.keep.numpy(), expected != 0)
    assert np.allclose(solution.weight, expected, atol=1e-3)


def test_patterns_that_a_solver_cannot_honour_are_refused_by_name():
    weight, gram = random_problem(4, 16, 100, 0)
    for solver, method in ((exchange, "wanda"), (sparsegpt, "obs")):
        with pytest.raises(RequestError, match="Block patterns"):
            solve(solver, weight, gram, Block(2, 4), 0.5, method)
    for solver in (refit, alps, sparsegpt):
        keep = solve(solver, weight, gram, Block(2, 4), 0.5).keep
        tiles = keep.reshape(2, 2, 4, 4).sum(dim=(1, 3))
        assert sorted(tiles.unique().tolist()) == [0, 8]


def test_senseless_pairs_are_refused_and_the_others_are_not():
    with pytest.raises(RequestError, match="alps cannot work with the method magnitude: use --method wanda"):
        PruningConfig(method="magnitude", solver="alps")
    for entry in entries("solver"):
        for method in entries("method"):
            if method.structure == "none" and (entry.methods is None or method.name in entry.methods):
                assert PruningConfig(method=method.name, solver=entry.name).solver == entry.name
    assert find("solver", "alps").methods == ("wanda",)


def test_a_gram_matrix_is_prepared_once_until_it_changes_or_is_gone():
    from pruning.numerics import gram as prepared

    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    matrix = inputs.t() @ inputs
    first, norms = prepared.normalised(matrix, 1e-3)
    assert prepared.normalised(matrix, 1e-3)[0] is first
    assert prepared.normalised(matrix, 1e-2)[0].damping == 1e-2
    matrix *= 4
    assert torch.allclose(prepared.normalised(matrix, 1e-3)[1], 2 * norms)
    del matrix
    assert prepared._Last.found is None
