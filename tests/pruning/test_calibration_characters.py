"""Calibration text with half a character: refused by its place, from every source, with nothing left behind."""

import json

import pytest

from models.errors import RequestError
from pruning import PruningConfig, prune
from pruning.commands.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")

HALF = "half \ud83d a character " + "the city lies on the river " * 20
FINE = "the old bridge 😀 " * 40


def test_a_file_is_refused_by_its_line_and_the_next_attempt_is_not_blocked(tiny_folder, tmp_path, capsys):
    text, out = tmp_path / "text.jsonl", tmp_path / "out"
    words = ["prune", str(tiny_folder()), "--out", str(out), "--calibration", str(text), "--samples", "2"]
    words += ["--sequence-length", "16", "--device", "cpu", "--dtype", "float32"]
    text.write_text("".join(f"{json.dumps({'text': each})}\n" for each in (FINE, HALF)))
    for method in ("wanda", "ria"):
        assert main([*words, "--method", method, "--samples", "200"]) == 2
        assert "text.jsonl, line 2 holds half a character at 5" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["text.jsonl"]
    text.write_text(json.dumps({"text": FINE}))
    assert main(words) == 0 and (out / "pruning.json").is_file()


def test_texts_of_a_caller_are_refused_by_their_number(tiny_model, tiny_tokenizer):
    config = PruningConfig(method="wanda", samples=2, sequence_length=16)
    with pytest.raises(RequestError, match="^Document 2 of the calibration text holds half a character"):
        prune(tiny_model(), tiny_tokenizer, config, calibration=["short", HALF])
