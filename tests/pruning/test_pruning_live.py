"""Live pruning: the dense model's input norms, how they are kept, and the masks that come from them."""

import copy
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.windows import calibration_windows
from pruning.live import store
from pruning.live.input_norms import InputNorms, fingerprint, norms_of
from pruning.live.twin import LiveTwin
from pruning.registry import find

SETTINGS = dict(samples=4, sequence_length=32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def tiny(tiny_model, tiny_tokenizer):
    return tiny_model(), tiny_tokenizer


def weights(model):
    return {projection.name: projection.weight.clone() for projection in find_anatomy(model).projections}


@pytest.mark.parametrize("pattern", ["unstructured", "unstructured:layer", "2:4"])
@pytest.mark.parametrize("method", ["magnitude", "wanda", "ria"])
def test_the_masks_are_those_of_the_scores_of_the_dense_model(tiny, method, pattern):
    model, tokenizer = tiny
    config = PruningConfig(method=method, pattern=pattern, **SETTINGS)
    norms = norms_of(model, tokenizer, config)
    twin = LiveTwin(model)
    preview = twin.apply(config, norms)
    entry = find("method", method)
    for projection in find_anatomy(model).projections:
        statistics = {"column_norms": norms.norms[projection.name]}
        scores = entry.implementation(projection.weight, statistics)
        keep = config.parsed_pattern().keep(scores, config.sparsity, entry.group)
        expected = projection.weight.masked_fill(~keep, 0)
        assert torch.equal(weights(twin.model)[projection.name], expected)
    assert preview.zeros == sum(int((weight == 0).sum()) for weight in weights(twin.model).values())
    assert preview.sparsity == pytest.approx(0.5, abs=0.02)
    assert "without error propagation" in preview.note


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_weights_of_any_dtype_and_layout_are_masked_and_counted(tiny_model, family, dtype):
    model = tiny_model(family).to(dtype)
    with torch.no_grad():
        find_anatomy(model).projections[0].weight[0] = -0.0  # which is zero
    twin = LiveTwin(model)
    preview = twin.apply(PruningConfig(method="magnitude"))
    own = weights(twin.model)
    assert preview.zeros == sum(int((weight == 0).sum()) for weight in own.values())
    for name, dense in weights(model).items():
        assert torch.equal(own[name], torch.where(own[name] != 0, dense, 0))


def test_the_first_block_is_as_prune_makes_it_and_later_ones_need_not_be(tiny):
    model, tokenizer = tiny
    config = PruningConfig(sparsity=0.6, **SETTINGS)
    twin = LiveTwin(model)
    twin.apply(config, norms_of(model, tokenizer, config))
    pruned = copy.deepcopy(model)
    prune(pruned, tokenizer, config)
    first = [projection.name for projection in find_anatomy(model).of_block(0)]
    for name in first:
        assert torch.equal(weights(twin.model)[name], weights(pruned)[name])


def test_moving_back_gives_the_same_model_and_the_dense_one_is_untouched(tiny):
    model, tokenizer = tiny
    before = weights(model)
    norms = norms_of(model, tokenizer, PruningConfig(**SETTINGS))
    twin = LiveTwin(model)
    twin.apply(PruningConfig(sparsity=0.3, **SETTINGS), norms)
    mild = weights(twin.model)
    twin.apply(PruningConfig(sparsity=0.9, method="magnitude", **SETTINGS))
    twin.apply(PruningConfig(sparsity=0.3, **SETTINGS), norms)
    for name, weight in weights(twin.model).items():
        assert torch.equal(weight, mild[name])
    for name, weight in weights(model).items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize(
    "settings, why",
    [
        (dict(method="obs"), "size of inputs"),
        (dict(solver="refit"), "changes the weights"),
        (dict(pattern="unstructured:global"), "whole model"),
        (dict(allocation="owl"), "settled over the whole model"),
        (dict(structure="layers"), "size of inputs"),
    ],
)
def test_what_cannot_be_previewed_is_refused(tiny, settings, why):
    with pytest.raises(RequestError, match=why):
        LiveTwin(tiny[0]).apply(PruningConfig(**settings))


def test_a_pattern_that_does_not_fit_is_refused(tiny):
    with pytest.raises(RequestError, match="does not fit"):
        LiveTwin(tiny[0]).apply(PruningConfig(method="magnitude", pattern="3:7"))


def test_norms_are_taken_once_and_then_read_from_disk(tiny, monkeypatch):
    model, tokenizer = tiny
    config = PruningConfig(**SETTINGS)
    taken = norms_of(model, tokenizer, config)
    monkeypatch.setattr("pruning.live.input_norms.take_norms", None)  # a second taking would break
    kept = norms_of(model, tokenizer, config)
    assert kept.tokens == taken.tokens
    assert all(torch.equal(kept.norms[name], value) for name, value in taken.norms.items())


def test_other_weights_text_or_seed_have_another_fingerprint(tiny):
    model, tokenizer = tiny

    def key(**settings):
        return fingerprint(model, calibration_windows(model, tokenizer, PruningConfig(**SETTINGS | settings)))

    first = key()
    assert key() == first
    keys = {first, key(seed=1), key(samples=3), key(sequence_length=16)}
    with torch.no_grad():
        find_anatomy(model).projections[0].weight[0, 0] += 1
    keys.add(key())
    assert len(keys) == 5


def some_norms(columns=8):
    return InputNorms({"a": torch.rand(columns, dtype=torch.float64)}, 7)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other key", "changed numbers", "empty"])
def test_a_damaged_file_is_removed_and_never_believed(cache, damage):
    norms = some_norms()
    store.store("k", norms)
    file = cache / "statistics" / "k.safetensors"
    data = file.read_bytes()
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other key":
        store.store("other", some_norms())
        os.replace(cache / "statistics" / "other.safetensors", file)
    else:
        save_file(load_file(file) | {"a": torch.ones(8, dtype=torch.float64)}, file, {"form": "1", "key": "k"})
    assert store.stored("k") is None
    assert not file.exists()


def test_the_files_unused_for_longest_go_when_there_are_too_many(cache, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 2500)
    for age, key in enumerate(["old", "used", "middle"]):
        store.store(key, some_norms(64))
        os.utime(cache / "statistics" / f"{key}.safetensors", (age, age))
    assert store.stored("used") is not None  # which makes it the newest
    store.store("new", some_norms(64))
    assert store.stored("old") is None
    assert store.stored("used") is not None and store.stored("new") is not None
