"""The tasks of what training keeps back hold exactly that; and the rows of several files, in a row or side by side."""

import gzip
import json

import pytest

from evals import task
from evals.judging import choices
from evals.task import Task
from models.errors import RequestError
from training.formats import SENTIMENT_LABELS, classification_prompt, completion, question_prompt
from training.instructions import passages, reviews

TEXTS = ("  a film  of {} parts ", "the soup , {} times\u00a0", 'they said "{}\'s fine"', "Café {}, 在花园里")


def write(path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def source(tmp_path):
    """Reviews and articles as public files have them: white space around texts, line ends and double spaces within."""
    for number, name in enumerate(("amazon_cells", "imdb", "yelp")):
        texts = [TEXTS[at % len(TEXTS)].format(at + 100 * number) for at in range(100)]
        lines = "".join(f"{text}\t{at // 3 % 2}\n" for at, text in enumerate(texts))
        write(tmp_path / f"reviews_uci/{name}_labelled.txt", lines)
    write(tmp_path / "sst2_glue/train.tsv.gz", "sentence\tlabel\n" + "".join(f"film {at}\t1\n" for at in range(100)))

    def paragraph(at: int, part: int) -> dict:
        answers = [{"text": text} for text in ("the wall", "the wall", "a  wall")]
        asked = [{"id": f"{at} {part} {n}", "question": f" What, {n}?", "answers": answers} for n in range(2)]
        return {"context": f"In {at} the\nwall  was built. {part}", "qas": asked}

    articles = [
        {"title": f"Article {at}", "paragraphs": [paragraph(at, part) for part in range(2)]} for at in range(40)
    ]
    write(tmp_path / "squad/dev-v1.1.json.gz", json.dumps({"data": articles}))
    return tmp_path


def test_the_reviews_kept_back_are_those_of_training(source):
    found = task.find("uci_kept_back")
    rows = found.rows(source)
    asked = [(found.prompt_of(row), choices.continuations(found, row)[choices.target(found, row)]) for row in rows]
    expected = [
        (classification_prompt(review.text), completion(SENTIMENT_LABELS[review.label]))
        for review in reviews(source, held_out=True)
    ]
    assert asked == expected and 10 < len(expected) < 100
    trained_on = {classification_prompt(review.text) for review in reviews(source)}
    assert not trained_on & {prompt for prompt, _ in asked}


def test_the_questions_kept_back_are_those_of_training(source):
    found = task.find("squad_kept_back")
    asked = [(found.prompt_of(row), row["answers"]) for row in found.rows(source)]
    expected = [
        (question_prompt(passage.context, question), list(answers))
        for passage in passages(source, held_out=True)
        for question, answers in passage.questions
    ]
    assert asked == expected and 4 <= len(expected) < 100


def of_files(**data) -> Task:
    return Task("own", "", "classification", {"file": ["a.tsv", "b.tsv"]} | data, "{text}")


def test_several_files_follow_one_another_or_stand_side_by_side(tmp_path):
    write(tmp_path / "a.tsv", "one\t1\ntwo\t0\n")
    with pytest.raises(RequestError, match="needs b.tsv"):
        of_files().rows(tmp_path)
    write(tmp_path / "b.tsv", "three\t1\n")
    rows = of_files(columns=["text", "label"]).rows(tmp_path)
    assert [(row["text"], row["label"]) for row in rows] == [("one", "1"), ("two", "0"), ("three", "1")]
    with pytest.raises(RequestError, match="not aligned"):
        of_files(columns=["text", "other"], layout="parallel").rows(tmp_path)
    write(tmp_path / "b.tsv", "three\nfour\n")
    rows = of_files(columns=["text", "other"], layout="parallel").rows(tmp_path)
    assert rows == [{"text": "one\t1", "other": "three"}, {"text": "two\t0", "other": "four"}]
    with pytest.raises(RequestError, match="2 files of aligned lines need as many columns, not 1"):
        of_files(columns=["text"], layout="parallel").rows(tmp_path)


def test_fields_are_cleaned_when_the_task_says_so(tmp_path):
    write(tmp_path / "a.tsv", "do n't  go , please .\tx  y\n")
    data = {"file": "a.tsv", "columns": ["text", "other"], "treebank": ["text"], "one_line": ["text"]}
    (row,) = Task("own", "", "classification", data, "{text}").rows(tmp_path)
    assert row == {"text": "don't go, please.", "other": "x  y"}
