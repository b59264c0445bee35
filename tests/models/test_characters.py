"""Half a character and NUL: refused by every reader of text, with the place, and whole emoji let through."""

import json

import pytest

from models.errors import RequestError
from models.storage.files import read_json
from models.text.characters import check_strings, checked, fault_of
from models.text.documents import file_documents

HALF = "half \ud83d a character"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HALF, r"half a character at 5 (\ud83d)"),
        ("\ude00", r"half a character at 0 (\ude00)"),
        ("a\0b", "a NUL character at 1"),
        ("whole 😀 and 汉字", None),
        ("", None),
    ],
)
def test_what_cannot_be_used_is_named(text, fault):
    assert fault_of(text) == fault


def test_a_byte_order_mark_before_a_text_is_no_part_of_it():
    assert checked("\ufeffa\ufeff", "here") == "a\ufeff"


@pytest.mark.parametrize("value", [HALF, {"a": [{"b": HALF}]}, {HALF: 1}, ("x", HALF)])
def test_strings_are_found_wherever_they_are(value):
    with pytest.raises(RequestError, match="^FILE, line 3 holds half a character .*: mend its encoding"):
        check_strings(value, "FILE, line 3")
    check_strings({"a": [1, None, 2.5, True, "😀"]}, "FILE")


def test_nul_is_let_through_where_the_encoding_is_known():
    check_strings("a\0", "a set", nul=True)
    with pytest.raises(RequestError, match="NUL"):
        check_strings("a\0", "a file")


@pytest.mark.parametrize("text", [HALF, "a\0b"])
def test_a_document_is_refused_by_its_line(tmp_path, text):
    path = tmp_path / "text.jsonl"
    path.write_text(f"{json.dumps({'text': 'fine 😀'})}\n\n{json.dumps({'text': text})}\n")
    documents = file_documents(path)
    assert next(documents) == "fine 😀"
    with pytest.raises(RequestError, match=r"text\.jsonl, line 3 holds"):
        next(documents)


def test_a_binary_file_is_no_plain_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("wall".encode("utf-16-le"))
    with pytest.raises(RequestError, match=r"text\.txt holds a NUL character at 1"):
        list(file_documents(path))


def test_a_deeply_nested_line_is_one_complaint(tmp_path):
    path = tmp_path / "deep.jsonl"
    path.write_text('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(RequestError, match="line 1: every line must be"):
        list(file_documents(path))


def test_json_files_are_read_with_a_byte_order_mark_and_refused_with_half_a_character(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text('{"a": "\\ud83d\\ude00"}', encoding="utf-8-sig")
    assert read_json(path) == {"a": "😀"}
    path.write_text('{"a": "\\ud83d"}')
    with pytest.raises(RequestError, match=r"plan\.json holds half a character"):
        read_json(path)
