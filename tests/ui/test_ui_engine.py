"""The real engine over tiny models: what it keeps, what a cancelled prune leaves, what it refuses."""

import shutil

import pytest
import torch

from models.console.progress import silent
from models.errors import Cancelled, RequestError
from models.memory import OutOfMemory
from ui.background.shelf import Shelf
from ui.engine import Settings, pattern_sparsity
from ui.local_engine import LocalEngine
from ui.methods import methods_of_registry

HALF_BY_SIZE = Settings("magnitude", 0.5)


@pytest.fixture
def make_engine(tiny_folder):
    engines = []

    def make(**options):
        engines.append(LocalEngine(str(options.pop("model", None) or tiny_folder()), dtype="float32", **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.worker.close()


def weights(twin):
    return {name: tensor.clone() for name, tensor in twin.loaded.model.state_dict().items()}


def test_pruning_leaves_the_dense_model_alone_and_measures_both(make_engine):
    engine = make_engine()
    dense = engine.dense(engine.default_model)
    before = {name: tensor.clone() for name, tensor in dense.model.state_dict().items()}
    fractions = []
    twin = engine.prune(engine.default_model, HALF_BY_SIZE, lambda fraction, message: fractions.append(fraction))
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.model.state_dict().items())
    projection = twin.loaded.model.model.layers[0].self_attn.q_proj.weight
    assert float((projection == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
    change = twin.change
    assert change.parameters[0] == change.parameters[1] and change.nonzero[1] < change.nonzero[0]
    assert change.perplexity[0].value > 1 and change.perplexity_ratio.interval is not None
    ratio = change.perplexity[1].value / change.perplexity[0].value
    assert change.perplexity_ratio.value == pytest.approx(ratio, rel=1e-6)
    assert not change.saves_memory and not change.saves_time and change.note
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    assert engine.latest(engine.default_model) is twin and engine.twin(twin.key) is twin


def test_a_twin_is_known_by_its_weights_and_by_the_whole_sparsity(make_engine, tiny_folder):
    folder, others = tiny_folder(), tiny_folder(seed=1)
    engine = make_engine(model=folder)
    twin = engine.prune(str(folder), HALF_BY_SIZE, silent)
    assert engine.prune(str(folder), HALF_BY_SIZE, silent) is twin
    assert engine.prune(str(folder), Settings("magnitude", 0.50001), silent) is not twin
    shutil.copyfile(others / "model.safetensors", folder / "model.safetensors")
    while engine._dense.drop_oldest():  # as memory may want it
        pass
    new = engine.prune(str(folder), HALF_BY_SIZE, silent)
    assert new is not twin and engine.latest(str(folder)) is new
    assert new.loaded.description.revision != twin.loaded.description.revision


def test_blocks_that_go_save_memory_and_time(make_engine):
    engine = make_engine()
    twin = engine.prune(engine.default_model, Settings("block-influence", 0.34), silent)
    assert twin.change.parameters[1] < twin.change.parameters[0]
    assert twin.change.saves_memory and twin.change.saves_time


def test_a_cancelled_prune_keeps_the_earlier_twin(make_engine):
    engine = make_engine()
    earlier = engine.prune(engine.default_model, HALF_BY_SIZE, silent)
    kept = weights(earlier)
    calls = []

    def progress(fraction, message):
        calls.append(fraction)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.prune(engine.default_model, Settings("wanda", 0.5), progress)
    assert engine.twins() == [earlier] and engine.latest(engine.default_model) is earlier
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights(earlier).items())


def test_the_same_settings_give_the_twin_that_is_there(make_engine):
    engine = make_engine()
    twin = engine.prune(engine.default_model, HALF_BY_SIZE, silent)
    assert engine.prune(engine.default_model, HALF_BY_SIZE, silent) is twin


def test_a_twin_that_had_to_go_is_said_to_be_gone(make_engine):
    engine = make_engine()
    first = engine.prune(engine.default_model, HALF_BY_SIZE, silent)
    for percent in (10, 20, 30, 40):
        engine.prune(engine.default_model, Settings("magnitude", percent / 100), silent)
    assert engine.twin("") is None
    with pytest.raises(RequestError, match="press Prune"):
        engine.twin(first.key)


def test_old_twins_make_room_when_memory_is_short(make_engine, monkeypatch):
    engine = make_engine()
    engine.prune(engine.default_model, HALF_BY_SIZE, silent)

    def room_for_one(size, device, what):
        if engine.twins():
            raise OutOfMemory("too big: choose a smaller model.")

    monkeypatch.setattr("ui.local_engine.require", room_for_one)
    twin = engine.prune(engine.default_model, Settings("magnitude", 0.3), silent)
    assert engine.twins() == [twin]


def test_what_never_fits_is_refused(make_engine, monkeypatch):
    engine = make_engine()

    def never(size, device, what):
        raise OutOfMemory("too big: choose a smaller model.")

    monkeypatch.setattr("ui.local_engine.require", never)
    with pytest.raises(OutOfMemory):
        engine.prune(engine.default_model, HALF_BY_SIZE, silent)
    assert engine.dense(engine.default_model) is not None


def test_other_models_are_loaded_on_request_and_only_where_that_is_free(make_engine, tiny_folder):
    other = str(tiny_folder("gpt2"))
    assert make_engine().dense(other).description.family == "gpt2"
    with pytest.raises(RequestError, match="Here one can choose"):
        make_engine(free_choice=False).dense(other)


def test_a_saved_pruned_model_stands_beside_from_the_start(make_engine, tiny_folder):
    pruned = tiny_folder(num_hidden_layers=2)
    engine = make_engine(pruned=str(pruned))
    assert engine.beside.standing.open and engine.twins() == []  # the page does not wait for it
    engine.begin()
    assert engine.beside.wait(60).state == "done"
    twin = engine.latest(engine.default_model)
    assert twin.settings is None
    assert twin.change.parameters[1] < twin.change.parameters[0]
    assert twin.change.saves_memory and twin.change.saves_time


@pytest.mark.parametrize(
    "settings",
    [("magnitude", 0.5, "3:2"), ("magnitude", 0.5, "oval"), ("nonsense", 0.5), ("block-influence", 0.5, "2:4")],
)
def test_senseless_settings_are_refused(make_engine, settings):
    with pytest.raises(RequestError):
        engine = make_engine()
        engine.prune(engine.default_model, Settings(*settings), silent)


def test_settings_follow_their_pattern():
    assert Settings("wanda", 0.9, "1:4").sparsity == 0.75
    assert [pattern_sparsity(name) for name in ("2:4", "unstructured", "x:4", "2:0")] == [0.5, None, None, None]
    with pytest.raises(RequestError, match="sparsity"):
        Settings("wanda", 1.0)


def test_methods_come_from_the_registry_with_the_patterns_they_can_make():
    methods = {method.name: method for method in methods_of_registry()}
    assert {"wanda", "magnitude", "block-influence"} <= set(methods)
    assert methods["wanda"].patterns[0] == "unstructured" and "2:4" in methods["wanda"].patterns
    assert methods["block-influence"].patterns == ()


def test_a_shelf_lets_go_what_was_unused_for_longest():
    shelf = Shelf(2)
    shelf.put("a", 1)
    shelf.put("b", 2)
    assert shelf.get("a") == 1
    shelf.put("c", 3)
    assert shelf.get("b") is None and shelf.values() == [1, 3]
    assert shelf.drop_oldest() and shelf.drop_oldest() and not shelf.drop_oldest()
