"""real_model.py as a command, on a tiny model and sets of a few rows: stored cell by cell, and not measured twice."""

import gzip
import json
import sys

import pytest

from benchmarks import real_model
from benchmarks.publishing import real, stored

PROSE = "The gardener ties the young branches to the wall and cuts what grows away from it. " * 40
QUESTION = {"question": "What bears fruit?", "choices": ["a wall", "a tree", "a rope"], "gold": 1}
SETS = {
    "piqa/valid.jsonl.gz": [{"goal": "prune", "sol1": "cut it", "sol2": "sing"}],
    "hellaswag/hellaswag_val.jsonl.gz": [{"ctx": "Garden: A tree. it", "endings": list("abcd"), "label": 0}],
    "arc_challenge/test.jsonl.gz": [QUESTION],
    "openbookqa/test.jsonl.gz": [QUESTION],
    "winogrande/dev.jsonl.gz": [{"sentence": "Ann said _ cut it.", "option1": "she", "option2": "he", "answer": "1"}],
    "commonsense_qa/dev_rand_split.jsonl.gz": [QUESTION | {"choices": ["a", "b", "c", "d", "e"]}],
    "lambada/lambada_test.jsonl.gz": [{"text": "The gardener ties the branches"}],
    "c4_sample/c4.jsonl.gz": [{"prefix": PROSE, "gold_completion": PROSE}] * 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of the sets, each of a few rows."""
    folder = tmp_path_factory.mktemp("data")
    texts = {name: "\n".join(map(json.dumps, rows * 3)) for name, rows in SETS.items()}
    texts |= {"piqa/valid-labels.lst.gz": "0\n0\n0\n", "wikitext2/wiki.test.raw.gz": PROSE}
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.mark.slow
def test_cells_are_measured_once_and_published(data, tiny_folder, tmp_path, run_cli, monkeypatch):
    model, out = str(tiny_folder()), tmp_path / "real_model"
    words = ["benchmarks/real_model.py", "--source", data, "--model", model, "--out", out, "--windows", 8, "--close", 2]
    words += ["--rows", 3, "--turns", 1, "--samples", 4, "--sequence-length", 32, "--cells", "dense", "wanda@0.5"]
    first = run_cli(*words)
    assert first.returncode == 0, first.stderr
    assert "2 of 2: wanda@0.5 is stored" in first.stdout
    (folder,) = out.iterdir()
    assert sorted(file.name for file in folder.iterdir()) == ["dense.json", "wanda-0.5.json"]
    cell = json.loads((folder / "wanda-0.5.json").read_text())
    assert cell["sparsity"] == pytest.approx(0.5, abs=0.01) and len(cell["texts"]["c4_sample"]["nats"]) == 8
    assert {len(next(iter(found["hits"].values()))) for found in cell["tasks"].values()} == {3}
    again = run_cli(*words)
    assert again.returncode == 0 and "Nothing is due" in again.stdout
    monkeypatch.setattr(stored, "RESULTS", tmp_path)
    monkeypatch.setattr(real, "MODEL", folder.name)
    assert "| 0.5" in real.real_model() and "| 0.5" in real.real_packed() and "wanda" in real.real_short()


@pytest.mark.parametrize(
    "change, line",
    [(["--cells", "wanda@3:4"], "no cell wanda@3:4"), (["--source", "/nowhere"], "does not exist: --source must name")],
)
def test_a_wrong_request_is_told_in_one_line(data, tmp_path, monkeypatch, capsys, change, line):
    monkeypatch.setattr(sys, "argv", ["real_model.py", "--source", str(data), "--out", str(tmp_path), *change])
    assert real_model.main() == 2
    told = capsys.readouterr().err
    assert line in told and len(told.splitlines()) == 1 and not list(tmp_path.iterdir())
