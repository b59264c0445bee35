"""The mixture and the fine-tuning run: what is in the windows, what is recorded, what is refused."""

import random
from dataclasses import replace
from itertools import count, islice
from types import SimpleNamespace

import numpy as np
import pytest

from models.errors import RequestError
from models.storage.files import read_json
from training import mixture as mixtures
from training.finetune import finetune, mixed_windows
from training.loop import TrainingConfig
from training.mixture import EPOCHS, Mixture, mixed_examples, read_epochs
from training.tasks import Task, tasks

CONFIG = TrainingConfig(tokens=1, length=32, batch=2)


def made_up(name, letter):
    def examples(root, generator):
        for number in range(40):
            yield f"{name} {number}", [(f"{letter * 3} {generator.randrange(1000)}:", False), (f" {letter}\n", True)]

    return Task(name, "made up", examples)


@pytest.fixture(autouse=True)
def two_tasks(monkeypatch):
    found = {"first": made_up("first", "a"), "second": made_up("second", "b")}
    monkeypatch.setattr(mixtures, "tasks", lambda: found)


@pytest.fixture
def corpus(tiny_tokenizer):
    def windows(length, seed):
        for start in count():
            yield np.full(length + 1, 2 + (start + seed) % 50, dtype=np.int64)

    return SimpleNamespace(tokenizer=tiny_tokenizer, windows=windows, manifest={})


def test_epochs_are_whole_passes_and_a_random_part():
    drawn = list(mixed_examples(Mixture({"first": 2.0, "second": 0.5}), None, random.Random(0)))
    assert [name for name, _ in drawn].count("first") == 80
    assert 8 < [name for name, _ in drawn].count("second") < 32
    prompts = [example[0][0] for name, example in drawn if name == "first"]
    assert prompts[:40] != prompts[40:], "a second pass makes its examples anew"


def test_what_is_not_kept_is_not_seen():
    drawn = list(
        mixed_examples(Mixture({"first": 1.0}), None, random.Random(0), keep=lambda task, key: key < "first 2")
    )
    assert len(drawn) == 11 + 1


def test_the_share_of_old_windows(corpus):
    windows, counts = mixed_windows(None, corpus, CONFIG, Mixture({"first": 3.0, "second": 1.0}, pretraining_share=0.4))
    old = [len(set(ids.tolist())) == 1 for ids, _ in windows]
    assert counts == {"first": 120, "second": 40} and sum(old) / len(old) == pytest.approx(0.4, abs=0.02)
    assert old != sorted(old), "old and new windows are shuffled"
    for (ids, weights), is_old in zip(windows, old, strict=True):
        assert len(ids) == 33 and set(np.unique(weights)) <= ({1.0} if is_old else {0.0, np.float32(0.1), 1.0})


def test_a_part_of_the_mixture_has_its_shares(corpus):
    config = Mixture({"first": 3.0, "second": 3.0}, pretraining_share=0.5)
    windows, counts = mixed_windows(None, corpus, CONFIG, config, most=20)
    assert len(windows) == 20 and sum(len(set(ids.tolist())) == 1 for ids, _ in windows) == 10
    assert sum(counts.values()) < 240 and min(counts.values()) > 5
    again, _ = mixed_windows(None, corpus, CONFIG, config, most=20)
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(windows, again, strict=True))


def test_a_run_is_recorded(corpus, tiny_folder, tmp_path):
    folder = tiny_folder()
    (folder / "training.json").write_text('{"pretraining": {"losses": [[1, 2.0]], "options": {"tokens": 1}}}')
    mixture = Mixture({"first": 1.0, "second": 0.0})
    finetune(folder, corpus, None, tmp_path / "out", CONFIG, mixture, facts={"search": []})
    record = read_json(tmp_path / "out" / "training.json")
    data = record["finetuning"]["data"]
    assert record["pretraining"] and data["examples"] == {"first": 40} and data["search"] == []
    assert data["mixture"] == {"epochs": {"first": 1.0, "second": 0.0}, "pretraining_share": 0.2, "prompt_weight": 0.1}
    assert record["finetuning"]["steps"] == data["windows"] // 2
    with pytest.raises(RequestError, match="exists already"):
        finetune(folder, corpus, None, tmp_path / "out", CONFIG, mixture)


@pytest.mark.parametrize(
    "options",
    [
        dict(epochs={"third": 1.0}),
        dict(epochs={"first": 0.0}),
        dict(epochs={}),
        dict(epochs={"first": -1.0, "second": 1.0}),
        dict(epochs={"first": float("nan")}),
        dict(epochs={"first": float("inf")}),
        dict(epochs={"first": 1.0}, pretraining_share=1.0),
        dict(epochs={"first": 1.0}, prompt_weight=1.5),
    ],
)
def test_senseless_mixtures_are_refused(options):
    with pytest.raises(RequestError):
        Mixture(**options)


def test_epochs_on_the_command_line(monkeypatch):
    monkeypatch.setattr(mixtures, "tasks", tasks)
    assert set(EPOCHS) == set(tasks()) and Mixture().epochs == read_epochs([]) == EPOCHS
    assert read_epochs(["cloze=0.5", "reviews=0"]) == EPOCHS | {"cloze": 0.5, "reviews": 0.0}
    with pytest.raises(RequestError, match="cloze=0.5"):
        read_epochs(["cloze:2"])
    with pytest.raises(RequestError, match="Unknown task 'poems'"):
        Mixture(read_epochs(["poems=2"]))
    assert replace(Mixture(), prompt_weight=0.0).prompt_weight == 0 and list(islice(tasks(), 1)) == ["phrases"]
