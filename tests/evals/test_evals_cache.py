"""The cache of answers, and the models that answer from it."""

import os
import sqlite3
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evals.asking.cache import Cache, default_path, key
from evals.asking.fingerprint import fingerprint as fingerprint_of
from evals.model_pool import ModelPool
from models.errors import EspalierError, RequestError
from models.source import ModelSource

ASKED = [("Review: a wall", [" good", " rather bad", " bad"]), ("Review: a tree in the garden", [" good", " bad"])]


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), min_size=1, max_size=4))
def test_two_lists_of_parts_never_share_a_key(first, second):
    assert (key(*first) == key(*second)) == (first == second)


def test_what_was_kept_is_found_by_another_and_after_reopening(tmp_path):
    one, other = Cache(tmp_path / "a" / "answers"), Cache(tmp_path / "a" / "answers")
    keys = [key(str(at)) for at in range(1200)]
    one.keep({each: each[:4] for each in keys[:1000]})
    assert other.find(keys) == {each: each[:4] for each in keys[:1000]}
    assert (other.found, other.missed) == (1000, 200)
    one.close()
    assert len(Cache(tmp_path / "a" / "answers").find(keys)) == 1000


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path):
    cache = Cache(tmp_path / "answers")
    with pytest.raises(EspalierError, match="--cache"):
        cache.keep([(key("a"), b"1"), (key("b"), object())])
    assert cache.find([key("a"), key("b")]) == {}
    cache.keep({key("a"): b"1"})
    assert cache.find([key("a")]) == {key("a"): b"1"}


def test_many_processes_write_at_once(tmp_path):
    code = (
        "import sys; from evals.asking.cache import Cache, key; cache = Cache(sys.argv[1])\n"
        "for at in range(50): cache.keep({key(sys.argv[2], str(at)): b'x'})"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "c"), str(name)]) for name in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert len(Cache(tmp_path / "c").find([key(str(name), str(at)) for name in range(3) for at in range(50)])) == 150


@pytest.mark.parametrize("damage", ["text", "folder"])
def test_a_damaged_file_is_told_and_left_alone(tmp_path, damage):
    path = tmp_path / "answers"
    path.write_text("no database " * 99) if damage == "text" else path.mkdir()
    with pytest.raises(RequestError, match="--cache none"):
        Cache(path)
    assert path.exists()


def test_the_default_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path))
    assert default_path() == tmp_path / "answers.sqlite"
    monkeypatch.delenv("ESPALIER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "espalier" / "answers.sqlite"


def test_another_weight_tokenizer_dtype_or_device_is_another_model(tiny_folder):
    folder = tiny_folder()

    def fingerprint(folder, name, dtype, device):
        return fingerprint_of(ModelSource(name, folder), dtype, device)

    seen = {fingerprint(folder, "a", "float32", "cpu"), fingerprint(folder, "b", "float32", "cpu")}
    assert len(seen) == 1  # a name is no part of a model
    seen |= {fingerprint(folder, "a", "bfloat16", "cpu"), fingerprint(folder, "a", "float32", "cuda")}
    weights = folder / "model.safetensors"
    data, when = bytearray(weights.read_bytes()), weights.stat().st_mtime_ns
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(when, when))
    seen.add(fingerprint(folder, "a", "float32", "cpu"))
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    seen.add(fingerprint(folder, "a", "float32", "cpu"))
    (folder / "pruning.json").write_text("{}")  # a record, not the model
    seen.add(fingerprint(folder, "a", "float32", "cpu"))
    assert len(seen) == 5


class Forbidden(AssertionError):
    pass


@pytest.fixture
def asked_of(tiny_folder, tmp_path):
    """`asked_of(load=True)`: a client with a cache on disk; with `load` False it may not load its weights."""
    folder = str(tiny_folder(seed=5))

    def make(load=True):
        pool = ModelPool([folder], "cpu", "float32")
        client = pool.client(folder, Cache(tmp_path / "answers"))
        if not load:

            def refuse():
                raise Forbidden

            client._load = refuse
        return client

    return make


def test_what_was_answered_once_needs_no_weights(asked_of):
    first = asked_of()
    windows = torch.arange(40).reshape(4, 10)

    def compute(loaded, ids):
        return torch.rand(len(ids), 9, generator=torch.Generator().manual_seed(0)).numpy()

    def answers(client):
        return (
            client.likelihoods(ASKED),
            client.whole_texts(["a tree", "a wall"]),
            client.write(["The gardener", "A tree that"], 5, ["\n"]),
            client.losses(windows, compute, 2).tolist(),
        )

    found = answers(first)
    assert answers(asked_of(load=False)) == found
    with pytest.raises(Forbidden):
        asked_of(load=False).likelihoods([("Review: another", [" good", " bad"])])


def test_a_run_that_was_cut_off_goes_on_to_the_same_bits(asked_of, monkeypatch):
    from evals.asking import branches
    from evals.asking import request_client as module

    monkeypatch.setattr(branches, "BATCH_TOKENS", 60)
    asked = [(f"Review: {'a tree ' * at}", [" good", " rather bad", " bad"]) for at in range(12)]
    whole = asked_of()
    whole._answers = None
    expected = whole.likelihoods(asked)
    score, done = module.score_batch, []

    def dying(model, batch, pairs):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(batch)
        return score(model, batch, pairs)

    monkeypatch.setattr(module, "score_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        asked_of().likelihoods(asked)
    monkeypatch.setattr(module, "score_batch", lambda *words: (done.append(words[1]), score(*words))[1])
    assert asked_of().likelihoods(asked) == expected
    assert len(done) == len({batch[0].ids for batch in done}), "no batch was computed twice"


def test_a_foreign_database_is_told(tmp_path):
    path = tmp_path / "other"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE answers (x)")
    with pytest.raises(EspalierError, match="--cache"):
        Cache(path).find([key("a")])
