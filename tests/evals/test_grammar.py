"""Minimal pairs: whole sentences against a plain sum, ties, groups."""

import numpy as np
import pytest
import torch

from evals.asking.request_client import RequestClient
from evals.metrics.grammar import answer, figures, judge
from evals.task import Task
from models import Loaded
from models.console.progress import silent

WORDS = ["The tree", "A gardener", "Café crème", "no one", "cuts", "is", "grows", "the branches", "away", "花园"]
TASK = Task(
    "own", "", "grammar", {}, "{good}", options={"good": "good", "bad": "bad", "group": "term", "groups": ["one"]}
)


@pytest.fixture(scope="module")
def loaded(tiny_model, tiny_tokenizer):
    return Loaded(tiny_model(), tiny_tokenizer, None)


def some_pairs(count: int) -> list[dict]:
    draw = np.random.default_rng(1)

    def sentence() -> str:
        return " ".join(draw.choice(WORDS, size=draw.integers(1, 8))) + "."

    return [{"good": sentence(), "bad": sentence(), "term": "one" if at % 3 else "two"} for at in range(count)]


def answers(loaded, rows: list[dict]) -> list[list[dict]]:
    client = RequestClient("model", loaded.tokenizer, loaded.model.config, "", lambda: loaded)
    return answer(client, TASK, rows, silent)


def whole_sentence(loaded, sentence: str) -> float:
    ids = torch.tensor([loaded.tokenizer(sentence)["input_ids"]])
    with torch.no_grad():
        return -float(loaded.model(ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_the_good_sentence_is_the_likelier_one_by_a_plain_sum(loaded):
    rows = some_pairs(40)
    assert loaded.tokenizer(rows[0]["good"])["input_ids"][0] == loaded.tokenizer.bos_token_id
    given = answers(loaded, rows)
    plain = [[whole_sentence(loaded, row[side]) for side in ("good", "bad")] for row in rows]
    found = [[side["log_likelihood"] for side in each] for each in given]
    assert np.array(found) == pytest.approx(np.array(plain), abs=1e-3)
    assert [side["choice"] for side in given[0]] == [rows[0]["good"], rows[0]["bad"]]
    hits = [judge(TASK, row, each)["accuracy"] for row, each in zip(rows, given, strict=True)]
    assert hits == [[float(good > bad)] for good, bad in plain] and 0 < np.sum(hits) < 40


def test_a_tie_is_wrong_and_each_term_is_told_apart(loaded):
    row = {"good": "a tree", "bad": "a wall", "term": "two"}
    [pair] = answers(loaded, [row])
    right, wrong = judge(TASK, row, pair), judge(TASK, row, pair[::-1])
    assert right.keys() == {"accuracy", "accuracy[two]"} and right["accuracy"][0] + wrong["accuracy"][0] == 1
    tie = [{**side, "log_likelihood": -3.0} for side in pair]
    assert judge(TASK, {**row, "term": "one"}, tie) == {"accuracy": [0.0], "accuracy[one]": [0.0]}
    assert [figure.name for figure in figures(TASK)] == ["accuracy", "accuracy[one]"]


def test_a_pair_of_the_same_sentence_is_wrong_whatever_its_figures(loaded):
    """BLiMP itself has seven of them."""
    row = {"good": "the same", "bad": "the same", "term": "one"}
    [(good, bad)] = answers(loaded, [row])
    assert good["choice"] == bad["choice"] == "the same"
    assert judge(TASK, row, [{**good, "log_likelihood": -1.0}, bad | {"log_likelihood": -2.0}])["accuracy"] == [0.0]
