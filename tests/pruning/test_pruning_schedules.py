"""Schedules: the cubic curve, masks that only grow, what is refused."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.mask_rule import MaskRule
from pruning.registry import find
from pruning.schedules.gradual import gradual
from pruning.structures.none import solve

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]


def test_the_curve_is_cubic_and_ends_exactly():
    steps = gradual(0.7)
    assert steps[-1] == 0.7
    assert steps == sorted(steps)
    assert steps == pytest.approx([0.7 * (1 - (1 - t / 5) ** 3) for t in (1, 2, 3, 4, 5)])


@settings(deadline=None)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(4, 24),
    sparsity=st.floats(0, 0.95),
    pattern=st.sampled_from(["unstructured:row", "unstructured:layer", "block:1x2"]),
    pair=st.sampled_from(
        [("magnitude", "none"), ("random", "none"), ("wanda", "refit"), ("random", "sparsegpt"), ("obs", "sparsegpt")]
    ),
    seed=st.integers(0, 99),
)
def test_what_went_in_a_step_stays_gone(rows, columns, sparsity, pattern, pair, seed):
    columns -= columns % 2
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator)
    inputs = torch.randn(40, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    assume(pair != ("obs", "sparsegpt") or not pattern.startswith("block"))
    method, solver = find("method", pair[0]), find("solver", pair[1]).implementation
    solved = []

    def remember(problem: LayerProblem) -> Solution:
        assert torch.equal(problem.weight, weight)
        solved.append((problem, solver(problem)))
        return solved[-1][1]

    job = SimpleNamespace(
        config=SimpleNamespace(schedule="gradual", method=pair[0]),
        method=method,
        solver=SimpleNamespace(implementation=remember, chooses=find("solver", pair[1]).chooses),
    )
    target = MaskRule(PruningConfig(pattern=pattern).parsed_pattern(), sparsity, "row")
    last = solve(job, weight, target, {"gram": inputs.t() @ inputs, "column_norms": inputs.double().norm(dim=0)})
    masks = [solution.keep for _, solution in solved]
    assert all(not bool((later & ~earlier).any()) for earlier, later in zip(masks, masks[1:], strict=False))
    assert int((~last.keep).sum()) == target.dropped(rows, columns)


def test_one_step_and_five_drop_as_many_of_a_real_model(tiny_model, tiny_tokenizer):
    plans = {}
    for schedule in ("one-shot", "gradual"):
        model = tiny_model("llama")
        config = PruningConfig(schedule=schedule, samples=2, sequence_length=32)
        plans[schedule] = prune(model, tiny_tokenizer, config, TEXTS).plan
    assert plans["gradual"].dropped == plans["one-shot"].dropped
    # Without a solver that changes weights nothing new is learnt on the way.
    assert plans["gradual"] == plans["one-shot"]


def test_n_m_has_nothing_in_between():
    with pytest.raises(RequestError, match="pattern 2:4 knows no sparsity in between for the schedule gradual"):
        PruningConfig(pattern="2:4", schedule="gradual")
