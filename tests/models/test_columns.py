"""Rows of a table as documents: which columns make a text, which a conversation, and what is refused."""

import gzip
import json

import pytest

from models.errors import RequestError
from models.text.columns import parse_columns, row_document
from models.text.dialogues import Dialogue
from models.text.documents import file_documents

TALK = Dialogue((("user", "Who?"), ("assistant", "Me.")))
ASIDE = Dialogue((("user", "Who?\n\nOf two."), ("assistant", "Me.")))
OPENAI = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
SHAREGPT = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ({"text": "a", "prompt": "b", "response": "c"}, "a"),
        ({"messages": OPENAI, "id": 3}, TALK),
        ({"conversations": SHAREGPT}, TALK),
        ({"prompt": "Who?", "response": "Me."}, TALK),
        ({"instruction": "Who?", "input": "", "output": "Me."}, TALK),
        ({"instruction": "Who?", "input": None, "output": "Me."}, TALK),
        ({"instruction": "Who?", "input": "Of two.", "output": "Me."}, ASIDE),
        ({"instruction": "Who?", "output": "Me."}, TALK),
        ({"instruction": "Who?", "context": "Of two.", "response": "Me.", "category": "x"}, ASIDE),
        ({"question": "Who?", "answer": "Me."}, TALK),
        ({"prefix": "wa", "completion": "ll"}, "wall"),
        ({"prefix": "wa", "gold_completion": "ll"}, "wall"),
        ({"prompt": "wa", "completion": "ll"}, "wall"),
    ],
)
def test_known_columns_are_joined_as_they_are_meant(row, document):
    assert row_document(row, None, "here") == document
    again = row_document(dict(reversed(row.items())), None, "here")
    assert again == document  # whatever their order


@pytest.mark.parametrize(
    ("row", "columns", "document"),
    [
        ({"title": "One", "body": "Two", "text": "other"}, ("title", "body"), "One\n\nTwo"),
        ({"title": "", "body": "Two"}, ("title", "body"), "Two"),
        ({"prefix": "wa", "gold_completion": "ll", "text": "other"}, ("prefix", "gold_completion"), "wall"),
        ({"prompt": "Who?", "response": "Me.", "text": "other"}, ("prompt", "response"), TALK),
        ({"talk": OPENAI, "text": "other"}, ("talk",), TALK),
        ({"body": "Two", "text": "other"}, ("body",), "Two"),
        ({"text": "One", "body": "Two"}, ("text", "body"), "One\n\nTwo"),
    ],
)
def test_named_columns_come_before_known_ones(row, columns, document):
    assert row_document(row, columns, "here") == document


@pytest.mark.parametrize(
    ("row", "columns", "says"),
    [
        ({"title": "a", "body": "b"}, None, "here has the keys title, body, of which none is known .*--columns"),
        ({"text": 3}, None, "here: `text` is 3, not a text"),
        ({"prompt": "a", "response": ["b"]}, None, "`response` is"),
        (["text"], None, "must be a JSON object"),
        ({"text": "a"}, ("body",), "no column `body` .it has text"),
        ({"body": 3}, ("body",), "`body` is 3"),
        ({"messages": []}, None, "list of messages"),
        ({"messages": "hello"}, None, "list of messages"),
        ({"messages": [{"role": "user"}]}, None, "here, message 1 has neither role and content"),
        ({"messages": [{"role": "user", "content": None}]}, None, "message 1: `role` and `content` must be texts"),
    ],
)
def test_other_rows_are_refused_by_their_place_and_keys(row, columns, says):
    with pytest.raises(RequestError, match=says) as caught:
        row_document(row, columns, "here")
    assert "\n" not in str(caught.value)


def test_many_keys_are_not_all_listed():
    with pytest.raises(RequestError, match="k11 and 28 more, of which none"):
        row_document({f"k{number}": 1 for number in range(40)}, None, "here")


def test_names_of_columns():
    assert parse_columns(None) is None and parse_columns("a, b") == ("a", "b")
    for words in ("", "a,", "a,a", 3):
        with pytest.raises(RequestError, match="each once"):
            parse_columns(words)


def test_a_file_of_conversations_is_read_line_by_line_and_checked(tmp_path):
    path = tmp_path / "talks.jsonl.gz"
    rows = [{"messages": OPENAI}, {"text": "plain"}, {"messages": [{"role": "user", "content": "half \ud83d"}]}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    documents = file_documents(path)
    assert next(documents) == TALK and next(documents) == "plain"
    with pytest.raises(RequestError, match="line 3 holds half a character"):
        next(documents)


def test_plain_text_has_no_columns(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(RequestError, match="omit --columns"):
        next(file_documents(tmp_path / "a.txt", ("text",)))
