"""What is zero in the dense model stays zero, whatever the solver, the pattern and the schedule."""

from types import SimpleNamespace

import pytest
import torch

from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy
from pruning.numerics.mask_rule import MaskRule
from pruning.registry import find
from pruning.structures.none import solve

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]
ELEMENTS = ["unstructured:row", "unstructured:layer", "2:4"]
SOLVERS = [
    ("wanda", "none", [*ELEMENTS, "block:2x2"]),
    ("wanda", "refit", [*ELEMENTS, "block:2x2"]),
    ("wanda", "alps", [*ELEMENTS, "block:2x2"]),
    ("wanda", "exchange", ELEMENTS),
    ("obs", "exchange", ELEMENTS),
    ("obs", "sparsegpt", ELEMENTS),
    ("wanda", "sparsegpt", [*ELEMENTS, "block:2x2"]),
    ("random", "refit", ELEMENTS),
    ("fisher", "exchange", ["unstructured:layer"]),
    ("fisher", "refit", ["unstructured:layer"]),
]
CASES = [
    (method, solver, pattern, schedule)
    for method, solver, patterns in SOLVERS
    for pattern in patterns
    for schedule in ("one-shot", "gradual")
    if not (schedule == "gradual" and pattern == "2:4")
]


def layer(zeros: float, rows: int = 16, columns: int = 144):
    """A weight with this share of zeros, unevenly over rows and columns, and statistics of correlated inputs."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, columns, generator=generator)
    uneven = torch.rand(rows, columns, generator=generator) * torch.linspace(0.5, 1.5, rows)[:, None]
    uneven *= torch.linspace(1.5, 0.5, columns)
    weight[uneven < uneven.quantile(zeros)] = 0
    inputs = torch.randn(400, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    statistics = {"gram": inputs.t() @ inputs, "column_norms": inputs.norm(dim=0)}
    return weight, statistics | {"gradient_l2": torch.rand(rows, columns, generator=generator) + 0.1}


@pytest.mark.parametrize("zeros", [0.2, 0.7])
@pytest.mark.parametrize(("method", "solver", "pattern", "schedule"), CASES, ids=lambda value: str(value))
def test_no_zero_comes_back(method, solver, pattern, schedule, zeros):
    weight, statistics = layer(zeros)
    job = SimpleNamespace(
        config=SimpleNamespace(schedule=schedule, method=method),
        method=find("method", method),
        solver=find("solver", solver),
    )
    target = MaskRule(PruningConfig(pattern=pattern).parsed_pattern(), 0.5, job.method.group)
    solution = solve(job, weight, target, statistics)
    was, now = weight == 0, solution.weight == 0
    assert not (was & ~now).any()
    dropped = target.dropped(*weight.shape)
    assert int(now.sum()) >= max(dropped, int(was.sum()))
    if pattern == "2:4":
        assert int((solution.weight.reshape(-1, 4) != 0).sum(1).max()) == 2
    if pattern in ("unstructured:layer", "unstructured:row") and method != "random" and solver != "sparsegpt":
        # Zeros go first: what is zero in a row (or the layer) by more than its share costs nothing else.
        axis = (0, 1) if pattern.endswith("layer") else 1
        expected = was.sum(axis).clamp_min(dropped // (1 if axis == (0, 1) else len(weight)))
        found = now.sum(axis)
        assert torch.equal(found, expected) or (solver == "exchange" and int(found.sum()) == int(expected.sum()))


@pytest.mark.parametrize("solver", ["refit", "exchange", "alps"])
def test_what_stays_is_still_fitted(solver):
    """Of a layer whose zeros are more than the target nothing goes, and nothing has to be made up for."""
    weight, statistics = layer(0.7)
    for row in weight:  # every row alike
        row[row.abs().argsort()[: int(0.7 * len(row))]] = 0
    job = SimpleNamespace(
        config=SimpleNamespace(schedule="one-shot", method="wanda"),
        method=find("method", "wanda"),
        solver=find("solver", solver),
    )
    target = MaskRule(PruningConfig().parsed_pattern(), 0.5, "row")
    assert torch.allclose(solve(job, weight, target, statistics).weight, weight, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        dict(method="wanda", solver="alps", sparsity=0.5),
        dict(method="obs", solver="sparsegpt", pattern="2:4"),
        dict(method="obs", solver="exchange", sparsity=0.5),
        dict(method="fisher", solver="refit", sparsity=0.5),
        dict(method="obs", solver="sparsegpt", sparsity=0.5, schedule="gradual"),
        dict(method="wanda", solver="alps", pattern="2:4:permuted"),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_sparse_model_never_ends_less_sparse(tiny_model, tiny_tokenizer, settings):
    model = tiny_model("llama")
    prune(model, tiny_tokenizer, PruningConfig(method="magnitude", sparsity=0.7))
    was = {entry.name: entry.weight == 0 for entry in find_anatomy(model).projections}
    report = prune(model, tiny_tokenizer, PruningConfig(samples=4, sequence_length=32, **settings), calibration=TEXTS)
    assert report.after.sparsity >= report.before.sparsity
    if "permuted" not in settings.get("pattern", ""):  # where columns have moved
        for entry in find_anatomy(model).projections:
            assert bool((entry.weight[was[entry.name]] == 0).all())
