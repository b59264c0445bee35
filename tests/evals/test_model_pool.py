"""Models that stay loaded where there is room, and what identifies them."""

import json

from evals.model_pool import ModelPool


def test_models_stay_loaded_where_memory_is_plentiful(tiny_folder, monkeypatch):
    monkeypatch.setattr("evals.model_pool.available_bytes", lambda device: 1 << 40)
    names = [str(tiny_folder(seed=seed)) for seed in range(2)]
    pool = ModelPool(names, "cpu", "float32")
    (first,) = pool.hold(names[0])
    pool.hold(names[1])
    assert pool.hold(names[0])[0].model is first.model
    pool.hold()
    assert pool.hold(names[0])[0].model is not first.model


def test_a_pruned_models_record_has_its_recipe_and_its_dense_model(tiny_folder):
    names = [str(tiny_folder(seed=seed)) for seed in range(2)]
    record = {"config": {"method": "wanda", "sparsity": 0.5}, "dense": {"id": "embedded", "revision": "x"}}
    with open(f"{names[1]}/pruning.json", "w", encoding="utf-8") as file:
        json.dump(record, file)
    pool = ModelPool(names, "cpu", "float32")
    assert pool.record(names[1])["pruning"] == record["config"] and "pruning" not in pool.record(names[0])
    assert (pool.dense(names[0]), pool.dense(names[1])) == (names[0], "embedded")
    assert pool.identity(names[0]) != pool.identity(names[1])
