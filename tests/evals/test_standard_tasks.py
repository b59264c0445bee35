"""The standard sets: one prompt whatever layout a row comes in, and scores as their publishers count them."""

import gzip
import json

import numpy as np
import pytest
import torch

from evals import evaluate_models, task
from evals.asking.request_client import RequestClient
from evals.forms import shaped
from evals.forms.hellaswag import cleaned
from evals.judging import choices
from evals.metrics import partial
from evals.rows.row import Row
from models.console.progress import silent
from models.errors import RequestError

STEM, TEXTS = "Which one is a metal? ", ["wood", "iron", "2", "glass", "clay"]
HUB = {"text": TEXTS, "label": list("ABCDE")}
QUESTIONS = {
    "Hub": {"question": STEM, "choices": HUB, "answerKey": "B"},
    "Hub, numbered": {"question": STEM, "choices": HUB | {"label": list("12345")}, "answerKey": "2"},
    "Hub, question_stem": {"question_stem": STEM, "choices": HUB, "answerKey": "B "},
    "publisher": {
        "question": {
            "stem": STEM,
            "choices": [{"text": text, "label": label} for text, label in zip(TEXTS, "ABCDE", strict=True)],
        },
        "answerKey": "B",
    },
    "list": {"query": STEM, "choices": TEXTS, "gold": 1},
    "columns": {"question": STEM, **dict(zip("ABCDE", TEXTS, strict=True)), "answer": "B"},
}


@pytest.mark.parametrize("layout", QUESTIONS)
def test_a_question_is_the_same_in_every_layout(layout):
    (row,) = shaped([Row(QUESTIONS[layout], "x, line 1")], "question")
    assert (row["question"], row["choices"], row["letters"], row["label"]) == (STEM, TEXTS, list("ABCDE"), 1)
    arc, asked = task.find("arc_challenge"), task.find("commonsense_qa")
    assert arc.prompt_of(row) == f"Question: {STEM}\nAnswer:"
    assert choices.continuations(arc, row) == [f" {text}" for text in TEXTS]
    assert choices.continuations(asked, row) == [" A", " B", " C", " D", " E"]
    assert choices.target(arc, row) == choices.target(asked, row) == 1
    assert "\nC. 2\n" in asked.prompt_of(row)


@pytest.mark.parametrize(
    "broken", [{"question": "?"}, QUESTIONS["list"] | {"gold": 5}, QUESTIONS["Hub"] | {"answerKey": "F"}]
)
def test_a_row_without_a_question_is_told_with_its_line(broken):
    with pytest.raises(RequestError, match="x, line 7"):
        shaped([Row(broken, "x, line 7")], "question")
    with pytest.raises(RequestError, match="Unknown form.*use one of hellaswag, question"):
        shaped([], "riddle")


def test_a_label_that_is_a_number_is_no_choice_that_is_one():
    row = {"question": "1 + 1?", "choices": ["3", "2", "1"], "label": 1}
    assert choices.target(task.find("arc_challenge"), row) == 1  # and not the choice that reads `1`


def test_hellaswag_is_the_same_from_the_original_and_from_its_text():
    original = {
        "activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "he",
        "endings": ["is ripping level tiles off."] * 4, "label": "3",
    }  # fmt: skip
    text = {"ctx": "Roof shingle removal: A man is sitting on a roof. he", "endings": original["endings"], "label": 3}
    first, second = shaped([Row(original), Row(text)], "hellaswag")
    assert first["query"] == second["query"] == "Roof shingle removal: A man is sitting on a roof. He"
    assert choices.target(task.find("hellaswag"), first) == choices.target(task.find("hellaswag"), second) == 3
    whole = "Youth: How to be ready. Buy supplies. write down everything."
    (kept,) = shaped([Row({"ctx": whole, "endings": ["a"] * 4, "label": 0})], "hellaswag")
    assert kept["query"] == whole  # a whole sentence is no second part
    assert cleaned("Knots: [header] How to tie [title] Take it. [step] Pull ") == "Knots: How to tie. Take it. Pull"


def test_piqa_reads_its_answers_beside_its_questions(tmp_path):
    folder = tmp_path / "piqa"
    folder.mkdir()
    asked = [{"goal": "dress", "sol1": " put on ", "sol2": "take off"}, {"goal": "eat", "sol1": "0", "sol2": "1"}]
    (folder / "valid.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, asked)).encode()))
    (folder / "valid-labels.lst.gz").write_bytes(gzip.compress(b"0\n1\n"))
    piqa = task.find("piqa")
    first, second = piqa.rows(tmp_path)
    assert piqa.prompt_of(first) == "Question: dress\nAnswer:"
    assert choices.continuations(piqa, first) == ["  put on ", " take off"]
    assert [choices.target(piqa, row) for row in (first, second)] == [0, 1]
    (folder / "valid-labels.lst.gz").write_bytes(gzip.compress(b"0\n"))
    with pytest.raises(RequestError, match="not aligned"):
        piqa.rows(tmp_path)


def client(model, tokenizer) -> RequestClient:
    return RequestClient("tiny", tokenizer, model.config, "", lambda: type("Held", (), {"model": model}))


def test_the_length_of_a_choice_is_that_of_the_row(tiny_model, tiny_tokenizer):
    row = {"goal": "tie the branch", "sol1": "  with rope", "sol2": "Café", "label": 0}
    (given,) = choices.answer(client(tiny_model(), tiny_tokenizer), task.find("piqa"), [row], silent)
    for entry, text in zip(given, (row["sol1"], row["sol2"]), strict=True):
        assert entry["norm"] == pytest.approx(entry["log_likelihood"] / len(text))
        assert entry["bytes"] == pytest.approx(entry["log_likelihood"] / len(text.encode()))


SENTENCE = {"sentence": "The tree that _ cut bears fruit.", "option1": "Ann", "option2": "nobody", "answer": "2"}


@torch.inference_mode()
def test_partial_evaluation_scores_the_rest_after_each_word(tiny_model, tiny_tokenizer):
    model, winogrande = tiny_model(), task.find("winogrande")
    (given,) = partial.answer(client(model, tiny_tokenizer), winogrande, [SENTENCE], silent)
    for entry, word in zip(given, ("Ann", "nobody"), strict=True):
        start = tiny_tokenizer(f"The tree that {word}")["input_ids"]
        ids = torch.tensor([tiny_tokenizer(f"The tree that {word} cut bears fruit.")["input_ids"]])
        logs = model(ids).logits.float().log_softmax(-1)[0]
        plain = sum(float(logs[at - 1, ids[0, at]]) for at in range(len(start), ids.shape[1]))
        assert entry["log_likelihood"] == pytest.approx(plain, abs=1e-4)
    hit = partial.judge(winogrande, SENTENCE, given)["accuracy"]
    assert hit == [float(given[1]["log_likelihood"] > given[0]["log_likelihood"])]


@pytest.mark.parametrize(
    "change, line",
    [({"sentence": "No gap."}, "no gap"), ({"sentence": "At the end _"}, "no gap"), ({"answer": "3"}, "none of 1, 2")],
)
def test_a_sentence_that_cannot_be_asked_is_refused(change, line):
    with pytest.raises(RequestError, match=line):
        partial.check_row(task.find("winogrande"), Row(SENTENCE | change, "x, line 1"))


def test_winogrande_is_measured_and_told_request_by_request(tmp_path, tiny_folder):
    (tmp_path / "winogrande").mkdir()
    rows = [SENTENCE | {"answer": str(1 + at % 2)} for at in range(12)]
    (tmp_path / "winogrande" / "dev.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found = evaluate_models(
        [str(tiny_folder())], tmp_path / "out", tasks=["winogrande"], source=tmp_path, cache=None, device="cpu"
    )
    (accuracy,) = (each for each in found["results"] if each["metric"] == "accuracy")
    assert np.isclose(accuracy["value"], 0.5) and accuracy["n"] == 12
    (samples,) = (tmp_path / "out").glob("*/samples_winogrande_*.jsonl")
    asked = json.loads(samples.read_text().splitlines()[0])["arguments"]
    assert asked["gen_args_0"] == {"arg_0": "The tree that Ann", "arg_1": " cut bears fruit."}
