"""Allocation: exact totals, the published formulas against independent references, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.allocation.error_curves import error_curve, error_curves, lower_hull
from pruning.allocation.owl import owl, wanda_histogram
from pruning.allocation.progression import progression
from pruning.numerics.histogram import histogram, lowest, values
from pruning.pipeline import preview
from pruning.sharing import settle

TEXTS = ["The gardener ties the young branches to the wall and cuts what grows away from it. " * 40]


def a_projection(name: str, block: int, rows: int, columns: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, block=block, rows=rows, columns=columns)


SHAPES = st.lists(st.tuples(st.integers(1, 40), st.integers(2, 40)), min_size=1, max_size=8)


@settings(deadline=None)
@given(
    shapes=SHAPES,
    data=st.data(),
    sparsity=st.floats(0.0, 0.95),
    by_row=st.booleans(),
)
def test_settled_shares_are_whole_units_and_add_up(shapes, data, sparsity, by_row):
    sizes = {str(index): rows * columns for index, (rows, columns) in enumerate(shapes)}
    units = {str(index): rows if by_row else 1 for index, (rows, _) in enumerate(shapes)}
    wanted = {name: data.draw(st.floats(-0.2, 1.2)) for name in sizes}
    settled = settle(sizes, wanted, sparsity, units)
    total = sparsity * sum(sizes.values())
    counts = {name: settled[name] * size for name, size in sizes.items()}
    for name, count in counts.items():
        assert count / units[name] == pytest.approx(round(count / units[name]), abs=1e-6)
        assert 0 <= count <= sizes[name] - units[name] + 1e-6
    room = sum(sizes[name] - units[name] for name in sizes)
    if total <= room:
        assert abs(sum(counts.values()) - total) <= max(units.values()) / 2 + 1e-6
    else:
        assert sum(counts.values()) == pytest.approx(room)
    # What should be sparser is, up to one unit of rounding.
    for one in sizes:
        for other in sizes:
            if wanted[one] <= wanted[other]:
                slack = units[one] / sizes[one] + 2 * units[other] / sizes[other]
                assert settled[one] <= settled[other] + slack + 1e-9


@settings(deadline=None)
@given(
    numbers=st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=60),
    cuts=st.integers(1, 5),
    data=st.data(),
)
def test_the_lowest_of_all_are_found_by_counting(numbers, cuts, data):
    scores = torch.tensor(numbers, dtype=torch.float32)
    parts = {str(index): scores[index::cuts] for index in range(min(cuts, len(numbers)))}
    total = data.draw(st.integers(0, len(numbers)))
    taken = lowest({name: histogram(part) for name, part in parts.items()}, total)
    assert sum(taken.values()) == pytest.approx(total)
    order = scores.sort().values
    for name, part in parts.items():
        if 0 < total < len(numbers):
            threshold = float(order[total - 1])
            blur = abs(threshold) / 1024 + 1e-38  # a bin is 1/2048 of its number wide
            assert int((part < threshold - blur).sum()) <= taken[name] + 1e-6
            assert taken[name] <= int((part <= threshold + blur).sum()) + 1e-6
    bins, counts = histogram(scores)
    assert int(counts.sum()) == len(numbers)
    assert bins.tolist() == sorted(bins.tolist())
    middle = values(bins).repeat_interleave(counts)
    assert torch.allclose(middle, order.double(), rtol=1e-3, atol=1e-38)


def test_owl_is_the_published_formula():
    generator = torch.Generator().manual_seed(2)
    projections, measures, scores = [], {}, {0: [], 1: [], 2: []}
    for block, power in enumerate((1.0, 3.0, 5.0)):
        for name, (rows, columns) in {"q": (24, 16), "up": (40, 16 + 8 * block)}.items():
            weight = torch.randn(rows, columns, generator=generator)
            weight = weight.sign() * weight.abs() ** power
            norms = torch.rand(columns, generator=generator).double()
            projections.append(a_projection(f"{block}.{name}", block, rows, columns))
            measures[f"{block}.{name}"] = wanda_histogram(weight, {"column_norms": norms})
            scores[block].append((weight.abs() * norms.float()).numpy().ravel())
    ratios = np.array([(flat > 5 * flat.mean()).mean() for flat in map(np.concatenate, scores.values())])
    assert len(set(ratios)) == 3
    scaled = (ratios - ratios.min()) / (ratios.max() - ratios.min()) * 0.16
    sizes = np.array([sum(map(len, scores[block])) for block in scores])
    expected = 1 - (scaled - (scaled * sizes).sum() / sizes.sum() + (1 - 0.7))
    found = owl(projections, 0.7, measures)
    for entry in projections:
        assert found[entry.name] == pytest.approx(expected[entry.block], abs=1e-9)


def test_owl_without_differences_is_uniform():
    projections = [a_projection(str(block), block, 4, 4) for block in range(3)]
    same = histogram(torch.ones(4, 4))
    assert owl(projections, 0.5, {entry.name: same for entry in projections}) == {"0": 0.5, "1": 0.5, "2": 0.5}


def test_progression_rises_by_equal_steps():
    found = progression([a_projection(str(block), block, 4, 4) for block in range(3)], 0.5, {})
    assert list(found.values()) == pytest.approx([0.45, 0.5, 0.55])
    assert progression([a_projection("only", 0, 4, 4)], 0.5, {}) == {"only": 0.5}


def test_an_error_curve_is_the_error_of_the_weights_that_go_in_units_of_the_loss():
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(64, 20, generator=generator) @ torch.randn(20, 20, generator=generator)
    weight = torch.randn(7, 20, generator=generator)
    gradients = torch.rand(7, 20, generator=generator)
    curve = error_curve(weight, {"gram": inputs.t() @ inputs, "gradient_l2": gradients})
    loss = float((weight**2 * gradients**2).sum())
    scores = (weight.abs() * inputs.norm(dim=0)).numpy()
    whole = np.linalg.norm(inputs.numpy() @ weight.numpy().T) ** 2
    for point, error in enumerate(curve.tolist()):
        pruned = weight.numpy().copy()
        for row in range(7):
            pruned[row, np.argsort(scores[row], kind="stable")[:point]] = 0
        lost = np.linalg.norm(inputs.numpy() @ (weight.numpy() - pruned).T) ** 2
        assert error == pytest.approx(lost / whole * loss, rel=1e-4, abs=1e-7)


def test_what_no_token_reached_is_given_the_common_sparsity():
    flat = error_curve(torch.ones(3, 4), {"gram": torch.zeros(4, 4), "gradient_l2": torch.zeros(3, 4)})
    assert flat.tolist() == [0.0] * 21
    unit = error_curve(torch.ones(3, 4), {"gram": torch.eye(4), "gradient_l2": torch.zeros(3, 4)})  # an unused expert
    assert unit.tolist() == [0.0] * 21
    projections = [a_projection(name, 0, 10, 10) for name in "abc"]
    found = error_curves(projections, 0.5, {"a": flat, "b": torch.tensor([0, 1, 4.0]), "c": torch.tensor([0, 9, 20.0])})
    assert found == pytest.approx({"a": 0.5, "b": 1.0, "c": 0.0})


def test_error_curves_are_shared_out_better_than_any_other_way_on_the_grid():
    """Against every combination of grid points of three convex curves, by brute force."""
    places = np.linspace(0, 1, 6)
    curves = {"a": places**2, "b": places**4, "c": 0.3 * places + 0.7 * places**3}
    projections = [a_projection(name, 0, 10, 10) for name in curves]
    for tenths in range(15):
        target = tenths / 15
        found = error_curves(projections, target, {name: torch.tensor(curve) for name, curve in curves.items()})
        assert sum(found.values()) == pytest.approx(3 * target)
        reached = sum(np.interp(found[name], places, curve) for name, curve in curves.items())
        options = [
            sum(curve[index] for curve, index in zip(curves.values(), choice, strict=True))
            for choice in np.ndindex(6, 6, 6)
            if sum(choice) >= 15 * target - 1e-9
        ]
        assert reached <= min(options) + 1e-9


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_lower_hull_is_convex_and_below(curve):
    hull = lower_hull(curve)
    places, heights = zip(*hull, strict=True)
    assert (places[0], places[-1]) == (0, 1)
    slopes = np.diff(heights) / np.diff(places)
    assert (np.diff(slopes) >= -1e-9).all()
    under = np.interp(np.linspace(0, 1, len(curve)), places, heights)
    assert (under <= np.array(curve) + 1e-9).all()


@pytest.mark.parametrize("allocation", ["owl", "progression", "error-curves"])
@pytest.mark.parametrize(("pattern", "unit"), [("unstructured:row", 96), ("unstructured:layer", 1), ("block:8x8", 64)])
def test_totals_are_exact_on_a_real_model(tiny_model, tiny_tokenizer, allocation, pattern, unit):
    model = tiny_model("llama", intermediate_size=96)
    config = PruningConfig(sparsity=0.6, allocation=allocation, pattern=pattern, samples=4, sequence_length=32)
    planned = preview(model, tiny_tokenizer, config, TEXTS)
    total = sum(entry.rows * entry.columns for entry in planned.projections)
    assert abs(planned.dropped - 0.6 * total) <= unit / 2
    assert len({entry.sparsity for entry in planned.projections}) > 1
    report = prune(model, tiny_tokenizer, config, TEXTS)
    zeros = {entry.name: int((model.get_submodule(entry.name).weight == 0).sum()) for entry in planned.projections}
    assert zeros == {entry.name: entry.dropped for entry in report.plan.projections}
    assert report.plan.dropped == planned.dropped


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_global_takes_the_lowest_of_the_whole_model(tiny_model, tiny_tokenizer, method):
    model = tiny_model("llama")
    with torch.no_grad():
        for index, layer in enumerate(model.model.layers):
            layer.self_attn.q_proj.weight *= 3.0**index
    dense = {name: weight.clone() for name, weight in model.state_dict().items()}
    config = PruningConfig(method=method, pattern="unstructured:global", sparsity=0.5, samples=4, sequence_length=32)
    report = prune(model, tiny_tokenizer, config, TEXTS)
    assert (report.calibration is None) == (method == "magnitude")
    names = [entry.name for entry in report.plan.projections]
    total = sum(dense[f"{name}.weight"].numel() for name in names)
    assert report.plan.dropped == round(total / 2)
    scaled = [entry.sparsity for entry in report.plan.projections if entry.role == "q"]
    assert scaled == sorted(scaled, reverse=True) and scaled[0] > scaled[-1] + 0.2
    if method == "magnitude":
        every = torch.cat([dense[f"{name}.weight"].abs().flatten() for name in names])
        threshold = every.kthvalue(round(total / 2)).values
        wrong = 0
        for name in names:
            pruned = model.get_submodule(name).weight == 0
            wrong += int((pruned != (dense[f"{name}.weight"].abs() <= threshold)).sum())
        assert wrong <= total / 1000  # only within one bin of the threshold


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pattern": "2:4", "allocation": "owl"}, "pattern 2:4 fixes the sparsity of every projection"),
        ({"pattern": "unstructured:global", "allocation": "owl"}, "unstructured:global shares out the sparsity itself"),
    ],
)
def test_an_allocation_with_nothing_to_share_out_is_refused(options, says):
    with pytest.raises(RequestError, match=says):
        PruningConfig(**options)


def test_blocks_that_do_not_fit_the_model_are_refused(tiny_model, tiny_tokenizer):
    with pytest.raises(RequestError, match=r"block:24x8 does not fit .*outputs are no multiple of 24"):
        preview(tiny_model("llama"), tiny_tokenizer, PruningConfig(method="magnitude", pattern="block:24x8"))
