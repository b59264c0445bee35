"""The search: what is judged is not trained on, a killed search goes on as an unbroken one, the best trial is chosen."""

import gzip
import json
import lzma
from types import SimpleNamespace

import numpy as np
import pytest

from models.errors import Cancelled, RequestError
from models.storage.files import read_json, write_json, write_text
from training import search as searching
from training.corpus import SCHEMA
from training.held_out import is_held_out
from training.loop import TrainingConfig
from training.mixture import Mixture
from training.search import SEARCHED_EPOCHS, judged, not_judged, search
from training.shards import write_shard
from training.tasks import tasks

CONFIG = TrainingConfig(tokens=64, length=32, batch=1, learning_rate=1e-3)


@pytest.fixture
def workplace(tmp_path, tiny_folder, tiny_tokenizer):
    """A pretrained model, a corpus folder and labelled texts: what the command line needs."""
    model = tiny_folder()
    write_json(model / "training.json", {"pretraining": {"losses": [[1, 2.0]]}})
    corpus, root = tmp_path / "corpus", tmp_path / "data"
    shard = write_shard(corpus / "tokens-00000.bin", [np.arange(4000) % 300], "<u2")
    write_json(corpus / "manifest.json", {"schema_version": SCHEMA, "shards": [shard], "dtype": "<u2"})
    tiny_tokenizer.save_pretrained(corpus / "tokenizer")
    rows = "".join(
        f"Sentence {n} is {word}.\t{label}\n" for n in range(12) for label, word in enumerate(("bad", "good"))
    )
    questions = [{"question": "Who grows?", "answers": [{"text": "Ada"}]}]
    articles = [{"title": f"T{n}", "paragraphs": [{"context": "Ada grows.", "qas": questions}]} for n in range(30)]
    write_text(root / "squad" / "dev-v1.1.json", json.dumps({"data": articles}))
    for name in ("amazon_cells", "imdb", "yelp"):
        write_text(root / "reviews_uci" / f"{name}_labelled.txt", rows)
    packed = root / "squad" / "dev-v1.1.json.gz"
    packed.write_bytes(gzip.compress((root / "squad" / "dev-v1.1.json").read_bytes()))
    wikipedia = root / "wikipedia_en_2015" / "train.jsonl.xz"
    wikipedia.parent.mkdir()
    wikipedia.write_bytes(
        lzma.compress(json.dumps({"title": "Trees", "text": "They grow in Weimar in May. " * 9}).encode())
    )
    return model, corpus, root


@pytest.mark.slow
def test_the_command_line_searches_then_fine_tunes_with_what_it_found(workplace, tmp_path, run_cli):
    model, corpus, root = workplace
    none = ("phrases=0", "unanswerable=0", "headline=0")
    words = ("--corpus", corpus, "--source", root, "--epochs", *none, "--batch", 2, "--length", 64, "--threads", 1)
    search = ("--search", 2, "--trial-tokens", 300, "--minutes", 0.02, "--out", tmp_path / "out")
    done = run_cli("training", "finetune", model, *words, *search)
    assert done.returncode == 0, done.stderr
    assert "best of 2 trials" in done.stdout and (tmp_path / "out.search.db").exists()
    record = read_json(tmp_path / "out" / "training.json")["finetuning"]
    trials = record["data"]["search"]
    best = min(trials, key=lambda trial: trial["sum"])
    assert len(trials) == 2 and set(best["losses"]) == {"reviews", "questions", "text"}
    assert record["options"]["learning_rate"] == best["values"]["learning_rate"]
    assert record["data"]["mixture"]["pretraining_share"] == best["values"]["pretraining_share"]


@pytest.fixture
def fake(monkeypatch):
    """A search whose trials train nothing: the loss is how far the learning rate is from 2e-3."""
    seen = []

    class Judge:
        def __init__(self, root, corpus, config):
            pass

        def __call__(self, model):
            return {"reviews": abs(seen[-1] - 2e-3), "text": 1.0}

    monkeypatch.setattr(searching, "Judge", Judge)
    monkeypatch.setattr(searching, "load_pretrained", lambda *_: None)
    monkeypatch.setattr(searching, "mixed_windows", lambda *_, **options: ([None] * options["most"], {}))
    monkeypatch.setattr(searching, "train", lambda model, windows, config, progress: seen.append(config.learning_rate))
    return seen


def run(file, trials, progress=None, config=CONFIG):
    return search(None, None, None, file, config, Mixture(), trials, progress=progress)


def test_the_best_trial_is_chosen_and_the_first_is_what_was_asked_for(fake, tmp_path):
    best, trials = run(tmp_path / "study.db", 8)
    assert len(trials) == len(fake) == 8 and fake[0] == CONFIG.learning_rate
    assert best.learning_rate == min(fake, key=lambda rate: abs(rate - 2e-3))
    assert trials[0]["values"]["pretraining_share"] == Mixture().pretraining_share
    assert all(trial["sum"] == pytest.approx(sum(trial["losses"].values())) for trial in trials)
    assert all(low <= best.mixture.epochs[name] <= high for name, (low, high) in SEARCHED_EPOCHS.items())
    assert best.mixture.epochs["phrases"] == Mixture().epochs["phrases"]
    json.dumps(trials)


def test_a_killed_search_goes_on_as_an_unbroken_one(fake, tmp_path, monkeypatch):
    run(tmp_path / "unbroken.db", 7)
    unbroken = list(fake)
    fake.clear()
    real = searching.train

    def killed(*arguments, **options):
        if len(fake) == 4:
            raise Cancelled()
        real(*arguments, **options)

    monkeypatch.setattr(searching, "train", killed)
    with pytest.raises(Cancelled):
        run(tmp_path / "killed.db", 7)
    monkeypatch.setattr(searching, "train", real)
    run(tmp_path / "killed.db", 7)
    assert fake == unbroken
    run(tmp_path / "killed.db", 7)
    assert fake == unbroken, "a finished search runs no more trials"


def test_a_search_under_other_options_is_refused(fake, tmp_path):
    run(tmp_path / "study.db", 1)
    with pytest.raises(RequestError, match="other options"):
        run(tmp_path / "study.db", 2, config=TrainingConfig(tokens=128, length=32, batch=1))


def test_what_is_judged_is_neither_held_out_nor_trained_on():
    found = tasks()
    names = [f"name {number}" for number in range(2000)]
    for task in (found["reviews"], found["questions"]):
        aside = [name for name in names if judged(task, name)]
        assert 150 < len(aside) < 350 and not any(not_judged(task, name) for name in aside)
        assert {is_held_out(name, 6) for name in aside} == {True, False}, "the two splits are independent"
    assert not any(judged(found["phrases"], name) for name in names)


def test_too_few_texts_to_judge_by_are_refused(monkeypatch, tiny_tokenizer):
    monkeypatch.setattr(searching, "mixed_examples", lambda *_, **__: iter(()))
    with pytest.raises(RequestError, match="without --search"):
        searching.Judge(None, SimpleNamespace(tokenizer=tiny_tokenizer), CONFIG)
