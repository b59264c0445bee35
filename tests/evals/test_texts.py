"""The texts that ship for measuring: sound in form, without repetition, and none of them a text for calibration."""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from evals import texts
from evals.texts import prose, questions, reviews
from models.errors import RequestError
from pruning.calibrating.mixture import mixed, streams

FOLDER = Path(texts.__file__).parent
FILES = ("prose.txt", "questions_en.jsonl", "reviews_en.jsonl", "reviews_zh.jsonl")
LENGTHS = {"en": (4, 70), "zh": (6, 80)}  # of a review: words, characters
RUN = 8  # words in a row that no two texts share


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def normalised(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).lower())


def runs(tokens, length: int = RUN) -> list[tuple]:
    return [tuple(tokens[at : at + length]) for at in range(len(tokens) - length + 1)]


def repeated(collection) -> list:
    return [item for item, count in Counter(collection).items() if count > 1]


def contexts() -> list[str]:
    return list(dict.fromkeys(row["context"] for row in questions()))


def english() -> list[str]:
    """Everything in English, a text each: what is compared must not run on from one text into the next."""
    asked = [row["question"] for row in questions()]
    return [*prose().split("\n\n"), *contexts(), *asked, *(row["text"] for row in reviews("en"))]


@pytest.mark.parametrize("name", FILES)
def test_files_are_clean_utf8_without_overlong_lines(name):
    text = (FOLDER / name).read_bytes().decode("utf-8")
    assert text.endswith("\n") and not text.endswith("\n\n") and text == unicodedata.normalize("NFC", text)
    assert all(unicodedata.category(sign) not in {"Cc", "Cf", "Co", "Cn"} for sign in text.replace("\n", ""))
    assert all(line == line.strip() and "  " not in line and len(line) <= 1500 for line in text.split("\n"))


@pytest.mark.parametrize(("language", "least"), [("en", 208), ("zh", 104)])
def test_reviews_are_many_and_balanced(language, least):
    rows = reviews(language)
    assert len(rows) >= least
    assert all(row.keys() == {"text", "label", "product"} and all(row.values()) for row in rows)
    counts = Counter(row["label"] for row in rows)
    assert counts.keys() == {"positive", "negative"} and counts["positive"] == counts["negative"]
    shortest, longest = LENGTHS[language]
    lengths = [len(row["text"].split() if language == "en" else row["text"]) for row in rows]
    assert shortest <= min(lengths) and max(lengths) <= longest
    assert len({row["product"] for row in rows}) >= 50


@pytest.mark.parametrize("language", LENGTHS)
def test_neither_order_nor_length_nor_product_tells_the_label(language):
    rows = reviews(language)
    positive = [row["label"] == "positive" for row in rows]
    assert max(len(run) for run in re.findall("1+|0+", "".join(str(int(each)) for each in positive))) <= 6
    quarter = len(rows) // 4
    assert all(0.3 < sum(positive[at : at + quarter]) / quarter < 0.7 for at in range(0, 4 * quarter, quarter))
    labels = ("positive", "negative")
    characters = [sum(len(row["text"]) for row in rows if row["label"] == label) for label in labels]
    assert max(characters) < 1.25 * min(characters)
    sides = [{row["product"] for row in rows if row["label"] == label} for label in labels]
    assert len(sides[0] & sides[1]) > 0.5 * len(sides[0] | sides[1])


def test_chinese_reviews_are_written_in_chinese():
    for row in reviews("zh"):
        assert re.fullmatch("[\u4e00-\u9fff\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]+", row["text"])


def test_other_languages_are_refused():
    with pytest.raises(RequestError, match="'fr': use one of en, zh"):
        reviews("fr")


def test_questions_are_many_on_thirty_contexts():
    asked = Counter(row["context"] for row in questions())
    assert len(asked) >= 30 and len(questions()) >= 100
    assert all(60 <= len(context.split()) <= 150 for context in asked) and set(asked.values()) <= {3, 4}
    assert all(row.keys() == {"id", "context", "question", "answers"} for row in questions())
    assert all(row["question"].endswith("?") for row in questions())
    assert not repeated(row["id"] for row in questions())
    assert not repeated((row["context"], normalised(row["question"])) for row in questions())


def test_every_answer_stands_in_its_context_as_whole_words():
    for row in questions():
        assert 1 <= len(row["answers"]) <= 3 and not repeated(row["answers"])
        for answer in row["answers"]:
            assert 1 <= len(answer.split()) <= 6
            assert re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", row["context"]), (row["id"], answer)


def test_no_question_gives_its_answer_away():
    for row in questions():
        assert not any(normalised(answer) in normalised(row["question"]) for answer in row["answers"])


def test_prose_is_long_and_in_many_paragraphs():
    paragraphs = prose().rstrip("\n").split("\n\n")
    assert 15_800 <= sum(len(paragraph.split()) for paragraph in paragraphs) <= 20_000
    assert len(paragraphs) >= 100 and all(paragraph.strip() for paragraph in paragraphs)


def test_no_text_occurs_twice():
    every = [*english(), *(row["text"] for row in reviews("zh"))]
    assert not repeated(normalised(text) for text in every)


def test_no_run_of_words_occurs_twice():
    assert not repeated(run for text in english() for run in runs(words(text)))
    chinese = (normalised(row["text"]) for row in reviews("zh"))
    assert not repeated(run for text in chinese for run in runs(text))


def test_nothing_is_shared_with_the_calibration_texts():
    documents = [each if isinstance(each, str) else each.script() for each in mixed(streams())]
    calibration = {run for document in documents for run in runs(words(document))}
    assert len(calibration) > 100_000
    shared = {run for text in english() for run in runs(words(text))} & calibration
    assert not shared


def test_every_line_is_one_json_object():
    for name in FILES[1:]:
        for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
            assert isinstance(json.loads(line), dict)
