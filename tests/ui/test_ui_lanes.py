"""The rows of the race: both models in the packed layout beside themselves, and what is said of them."""

import copy

import pytest
import torch

from evals.cost.speed import race
from models.errors import Cancelled, RequestError
from models.loading import Loaded
from pruning.anatomy.roles import find_anatomy
from pruning.packing.install import is_packed, packed_layers
from pruning.packing.layout import in_layout
from ui.engine import Twin
from ui.pair import Side
from ui.tabs import lanes
from ui.tabs.lanes import gains, lanes_of, layout_of, row_name
from ui.texts import Words

ENGLISH = Words("en")


def silent(*_) -> None:
    pass


@pytest.fixture
def sides(tiny_model, tiny_tokenizer):
    dense = tiny_model("llama")
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        for projection in find_anatomy(pruned).projections:
            projection.weight[torch.rand(projection.weight.shape) < 0.5] = 0
    return [Side(name, Loaded(model, tiny_tokenizer, None)) for name, model in (("dense", dense), ("pruned", pruned))]


def test_a_plain_twin_stands_beside_itself_packed(sides):
    found, missing = lanes_of(sides, "plain", silent)
    assert [name for name, _, _ in found] == ["dense", "dense_layout", "pruned", "packed", "packed_int8"]
    assert not missing and [is_packed(model) for _, model, _ in found] == [False, True, False, True, True]
    models = {name: model for name, model, _ in found}
    assert models["dense"] is sides[0].loaded.model and models["pruned"] is sides[1].loaded.model
    layer = next(iter(packed_layers(models["dense_layout"]).values()))
    assert layer.values.data_ptr() == sides[0].loaded.model.model.layers[0].self_attn.q_proj.weight.data_ptr()


@pytest.mark.parametrize(
    "layout,format,missing", [("packed", "auto", "packed"), ("packed int8", "int8", "packed_int8")]
)
def test_a_packed_twin_is_its_own_row(sides, layout, format, missing):
    packed = sides[1].loaded._replace(model=in_layout(sides[1].loaded.model, format))
    names = [name for name, _, _ in lanes_of([sides[0], Side("pruned", packed)], layout, silent)[0]]
    assert missing not in names and len(names) == 4
    assert row_name("pruned", layout, ENGLISH) == row_name(missing, "plain", ENGLISH)


def test_a_row_that_cannot_be_had_is_one_line_and_the_others_race(sides, monkeypatch):
    def refuse(model, format):
        raise RequestError(f"No room for {format}.")

    monkeypatch.setattr(lanes, "_copy", refuse)
    found, missing = lanes_of(sides, "plain", silent)
    assert [name for name, _, _ in found] == ["dense", "pruned"]
    assert missing == ["No room for dense.", "No room for auto.", "No room for int8."]


def test_a_visitor_who_leaves_ends_the_making_of_rows(sides):
    def leave(*_):
        raise Cancelled

    with pytest.raises(Cancelled):
        lanes_of(sides, "plain", leave)


def test_the_gains_multiply_to_what_the_packed_row_gains(sides):
    result = race(lanes_of(sides, "plain", silent)[0], "A tree", new_tokens=4, repeats=2)
    rates = {lane.name: lane.decode_rate.value for lane in result.lanes}
    kernels, zeros = (
        float(word) for word in gains(result, "plain", ENGLISH).replace(",", " ").split() if word[:1].isdigit()
    )
    assert kernels * zeros == pytest.approx(rates["packed"] / rates["dense"], rel=0.1, abs=0.02)
    two = race(lanes_of(sides, "plain", silent)[0][::2], "A tree", new_tokens=4, repeats=2)
    assert gains(two, "plain", ENGLISH) == ""
    without_packed = race(lanes_of(sides, "plain", silent)[0][:3], "A tree", new_tokens=4, repeats=2)
    assert gains(without_packed, "plain", ENGLISH) == ""  # the pruned row is none that is packed


@pytest.mark.parametrize("format,layout", [(None, "plain"), ("auto", "packed"), ("int8", "packed int8")])
def test_a_twin_that_was_pruned_elsewhere_tells_how_it_is_stored(sides, format, layout):
    model = sides[1].loaded.model if format is None else in_layout(sides[1].loaded.model, format)
    twin = Twin("beside", "dense", None, sides[1].loaded._replace(model=model), None)
    assert layout_of(twin) == layout and layout_of(None) == "plain"


def test_a_race_of_one_run_claims_nothing(sides):
    from ui.tabs.race import verdict

    result = race([(side.name, side.loaded.model, side.loaded.tokenizer) for side in sides], "A tree", 2, 1)
    for language in ("en", "zh"):
        said = verdict(result, Words(language))
        assert result.lane("pruned").speedups["decode_speedup"].interval is None
        assert "95" not in said and said == Words(language)("race_no_spread", ratio=said_ratio(result))


def said_ratio(result):
    from ui.parts.html import number

    return number(result.lane("pruned").speedups["decode_speedup"].value)
