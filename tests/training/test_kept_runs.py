"""What is left of a run that failed: kept until the model is saved, named, and never gone on with for another run."""

import json
import os
import random
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.errors import Cancelled, EspalierError, RequestError
from models.storage.disk import WriteFailed
from models.storage.files import read_json
from training import build, pretrain
from training import checkpoint as checkpoints
from training.build import Recipe, build_corpus
from training.checkpoint import checkpoint_of, kept, load_checkpoint, save_checkpoint
from training.documents import read_documents
from training.filters import Limits
from training.finetune import finetune
from training.identity import corpus_digest, examples_digest, windows_digest
from training.loop import TrainingConfig, train
from training.mixture import Mixture
from training.search import search
from training.sources import Source
from training.store import open_store

CONFIG = TrainingConfig(tokens=6 * 32, length=16, batch=2, checkpoint_every=4)


def windows():
    for at in count():
        yield (np.arange(17) + at) % 300, np.ones(16, dtype=np.float32)


def stopping(after):
    steps = count(1)

    def progress(fraction, message):
        if next(steps) == after:
            raise Cancelled

    return progress


@pytest.fixture
def corpus(tiny_tokenizer):
    return SimpleNamespace(
        manifest={"shards": [{"sha256": "one"}]},
        tokenizer=tiny_tokenizer,
        windows=lambda length, seed, held_out=0: (ids for ids, _ in windows()),
        held_out=lambda length, number: [],
    )


@pytest.fixture
def pretraining(tiny_model, corpus, monkeypatch):
    """Pretrains a tiny model, and saves nothing but a file that tells it."""
    monkeypatch.setattr(pretrain, "new_model", lambda tokenizer, shape, length, seed: tiny_model("llama", seed))

    def run(out, progress=None, shape="6M", config=CONFIG):
        return pretrain.pretrain(corpus, out, config, progress=progress, shape=shape)

    return run


def test_a_run_is_not_gone_on_with_on_another_corpus_or_shape(pretraining, corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        pretraining(out, stopping(5))
    before = checkpoint_of(out).read_bytes()
    with pytest.raises(RequestError, match="run.shape was 6M and is 20M"):
        pretraining(out, shape="20M")
    corpus.manifest = {"shards": [{"sha256": "another"}]}
    with pytest.raises(RequestError, match="other options or data .run.corpus was "):
        pretraining(out)
    corpus.manifest = {"shards": [{"sha256": "one"}]}
    with monkeypatch.context() as patch:
        patch.setattr("training.identity.version", lambda name: "0.0")
        with pytest.raises(RequestError, match="run.libraries.torch was "):
            pretraining(out)
    assert checkpoint_of(out).read_bytes() == before and not out.exists()
    assert pretraining(out).step == 6 and not checkpoint_of(out).exists()


def test_a_model_that_cannot_be_saved_loses_no_training(pretraining, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "plot_losses", refuse)
        with pytest.raises(EspalierError) as told:
            pretraining(out)
    kept_at = checkpoint_of(out)
    assert f"Could not write {out}: No space left on device." in str(told.value)
    assert f"What is done is kept in {kept_at}: the same command goes on" in str(told.value)
    assert told.value.exit_code == 1 and os.listdir(tmp_path) == [kept_at.name]

    def forbidden(*_, **__):
        pytest.fail("a step was taken again")

    monkeypatch.setattr("training.loop.accumulate_gradients", forbidden)
    record = pretraining(out)
    assert record.step == 6 and (out / "model.safetensors").exists() and os.listdir(tmp_path) == ["out"]


def test_no_room_for_the_last_checkpoint_does_not_cost_the_model(pretraining, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise WriteFailed(path, "No space left on device.")

    monkeypatch.setattr("training.loop.save_checkpoint", refuse)
    assert pretraining(tmp_path / "out", config=replace(CONFIG, checkpoint_every=100)).step == 6
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_checkpoint_that_cannot_be_written_names_the_one_before(pretraining, tmp_path, monkeypatch):
    own, saved = torch.save, []

    def save(content, path):
        saved.append(path)
        if len(saved) == 2:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
        own(content, path)

    monkeypatch.setattr(checkpoints.torch, "save", save)
    config = replace(CONFIG, checkpoint_every=2)
    with pytest.raises(EspalierError, match="Free some space.* is kept in .*out.checkpoint: the same command goes on"):
        pretraining(tmp_path / "out", config=config)
    assert os.listdir(tmp_path) == ["out.checkpoint"]
    assert pretraining(tmp_path / "out", config=config).step == 6


@pytest.mark.parametrize(
    ("error", "told", "says"),
    [
        (KeyboardInterrupt(), EspalierError, "Interrupted. What is done is kept in "),
        (ZeroDivisionError("by zero"), EspalierError, "ZeroDivisionError: by zero"),
        (OSError(28, "No space left on device"), EspalierError, "Free some space"),
        (Cancelled(), Cancelled, "nothing was changed"),
        (RequestError("wrong"), RequestError, "wrong"),
    ],
)
def test_what_is_kept_is_named(tmp_path, error, told, says):
    (tmp_path / "work").mkdir()
    with pytest.raises(told) as seen, kept(tmp_path / "work"):
        raise error
    assert says in str(seen.value) and type(seen.value) is told
    with pytest.raises(type(error)) as seen, kept(tmp_path / "nothing"):
        raise error
    assert seen.value is error


@pytest.mark.parametrize("out", ["file/out", "round", "n" * 245])
def test_training_tries_its_destination_first(pretraining, tmp_path, monkeypatch, out):
    (tmp_path / "file").write_text("x")
    (tmp_path / "round").symlink_to("round")
    monkeypatch.setattr(pretrain, "train", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(RequestError):
        pretraining(tmp_path / out)
    with pytest.raises(RequestError):
        finetune(tmp_path / "no model", None, tmp_path, tmp_path / out, CONFIG, Mixture())
    with pytest.raises(RequestError):
        build_corpus(tmp_path, tmp_path / out, Recipe(sources=(), test_sets=()))
    assert sorted(os.listdir(tmp_path)) == ["file", "round"]


def test_of_several_processes_the_first_tries_the_destination(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    monkeypatch.setenv("RANK", "1")
    checkpoints.try_out(tmp_path / "out")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RequestError, match="exists already"):
        checkpoints.try_out(tmp_path / "out")


def test_checkpoints_know_all_that_they_were_asked_for(tiny_model, tmp_path):
    model = tiny_model("llama")
    save_checkpoint(tmp_path / "c", model, [], {"step": 1}, {"a": 1, "run": {"corpus": "x"}})
    assert load_checkpoint(tmp_path / "c", model, [], {"a": 1, "run": {"corpus": "x"}}) == {"step": 1}
    for other in ({"a": 2, "run": {"corpus": "x"}}, {"a": 1, "run": {"corpus": "y"}}, {"a": 1}):
        with pytest.raises(RequestError, match="other options"):
            load_checkpoint(tmp_path / "c", model, [], other)


def test_train_refuses_the_checkpoint_of_another_identity(tiny_model, tmp_path):
    arguments = (windows(), CONFIG, tmp_path / "c")
    with pytest.raises(Cancelled):
        train(tiny_model(), *arguments, stopping(5), identity={"windows": "one"})
    with pytest.raises(RequestError, match="run.windows was one and is two"):
        train(tiny_model(), *arguments, identity={"windows": "two"})


def test_digests_tell_data_apart(corpus, monkeypatch):
    first = [(np.arange(3), np.ones(2)), (np.arange(3) + 1, np.ones(2))]
    assert windows_digest(first) == windows_digest(list(first))
    assert len({windows_digest(each) for each in (first, first[::-1], first[:1], [(np.arange(3), np.zeros(2))])}) == 4
    before = corpus_digest(corpus)
    corpus.manifest = {}
    assert corpus_digest(corpus) != before
    monkeypatch.setattr("training.identity.mixed_examples", lambda mixture, root, generator: iter([("a", root)]))
    assert examples_digest("one", ["reviews"]) != examples_digest("two", ["reviews"])


def test_a_search_of_other_data_is_refused(tmp_path, monkeypatch):
    from training import search as searching

    monkeypatch.setattr(searching, "Judge", lambda *_: None)
    monkeypatch.setattr(searching, "_one_trial", lambda study, *_: pytest.fail("a trial began"))
    arguments = (Path("model"), None, tmp_path, tmp_path / "out.search.db", CONFIG, Mixture())
    with pytest.raises(ValueError):  # there is no best of none
        search(*arguments, trials=0, identity={"model": "one"})
    with pytest.raises(RequestError, match="run.model was one and is two"):
        search(*arguments, trials=1, identity={"model": "two"})


def rows(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    chosen = random.Random(0)
    words = "the of and to that with river garden branch wall early winter stone people water small grows runs".split()
    lines = [{name: " ".join(chosen.choices(words, k=150)) for name in ("text", "other")} for _ in range(20)]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def recipe(file: Path, field: str) -> Recipe:
    source = Source(file.name, str(file), "none", partial(read_documents, fields=(field,)))
    return Recipe(sources=(source,), test_sets=(), vocabulary=300, limits=Limits(1, "any"))


def test_a_build_is_known_by_the_field_that_it_reads(tmp_path, monkeypatch):
    pytest.importorskip("datasketch")
    file, out = rows(tmp_path), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(build, "_tokenizer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(EspalierError, match="Interrupted. What is done is kept in .*out.partial"):
            build_corpus(tmp_path, out, recipe(file, "text"))
    with pytest.raises(RequestError, match="other sources or options .sources was "):
        build_corpus(tmp_path, out, recipe(file, "other"))
    (tmp_path / "link").symlink_to("out")
    build_corpus(tmp_path, tmp_path / "link", recipe(file, "text"))
    assert read_json(out / "manifest.json")["documents"] and (tmp_path / "link").is_symlink()
    assert not (tmp_path / "out.partial").exists()


def test_a_store_on_a_full_disk_is_told_with_its_remedy(tmp_path):
    import sqlite3

    with (
        pytest.raises(WriteFailed, match="No space left on device. Free some space"),
        open_store(tmp_path / "s.sqlite"),
    ):
        raise sqlite3.OperationalError("database or disk is full")
    with pytest.raises(WriteFailed, match="permissions"), open_store(tmp_path / "s.sqlite"):
        raise sqlite3.OperationalError("attempt to write a readonly database")


def test_the_command_names_a_destination_before_it_reads_the_corpus(tmp_path, capsys):
    from training.__main__ import main

    (tmp_path / "file").write_text("x")
    words = ["--corpus", str(tmp_path / "nowhere"), "--out", str(tmp_path / "file" / "out")]
    assert main(["pretrain", *words]) == 2 and "is a file" in capsys.readouterr().err
    assert main(["finetune", str(tmp_path / "none"), "--source", str(tmp_path), *words]) == 2
    assert "is a file" in capsys.readouterr().err
