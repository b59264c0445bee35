"""Documents from files of every kind, whatever is wrong with some of their lines."""

import csv
import gzip
import json
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import RequestError
from training import documents
from training.documents import Broken, pieces, read_documents
from training.sources import read_sst2

TEXTS = ['One, "two".', "Drei\tvier", "五", "line\nline"]


def written(path, content):
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        file.write(content)
    return path


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_every_kind_of_file(tmp_path, ending):
    rows = "".join(json.dumps({"text": text, "id": 1}) + "\n" for text in TEXTS)
    assert list(read_documents(written(tmp_path / f"a.jsonl{ending}", rows))) == TEXTS
    table = written(tmp_path / f"a.csv{ending}", 'id,text\n1,"One, ""two""."\n2,"line\nline"\n')
    assert list(read_documents(table)) == [TEXTS[0], TEXTS[3]]
    tabs = written(tmp_path / f"a.TSV{ending}", 'review\tlabel\n"quite" good\t1\n\nnot\t0\n')
    assert list(read_documents(tabs, ("review",))) == ['"quite" good', "not"]
    assert list(read_documents(written(tmp_path / f"a.txt{ending}", "one\n\ntwo\n"))) == ["one\n\ntwo\n"]


def test_several_fields_are_joined_by_a_line_end(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"title": "T", "text": "body"}\n')
    assert list(read_documents(path, ("title", "text"))) == ["T\nbody"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"text": "one"}\n')
    assert list(read_documents(path)) == ["one"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"text": "half', "not JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"other": "x"}', "no JSON object with text"),
        (b'{"text": 3}', "no JSON object with text"),
        (b'["text"]', "no JSON object with text"),
        (b'{"text": "\xff"}', "not UTF-8 at byte 10"),
    ],
)
def test_a_broken_line_is_reported_and_passed_over(tmp_path, bad, reason):
    lines = [b'{"text": "good"}'] * 150
    lines[41] = bad
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = list(read_documents(tmp_path / "a.jsonl"))
    assert found.count("good") == 149
    (broken,) = (item for item in found if isinstance(item, Broken))
    assert broken.line == 42 and reason in broken.reason


def test_broken_rows_of_a_table(tmp_path):
    lines = ["text,label"] + ["good,1"] * 300
    lines[100] = "one,two,three"
    found = list(read_documents(written(tmp_path / "a.csv", "\n".join(lines))))
    assert found.count("good") == 299 and Broken(101, "3 columns where the header has 2") in found


def test_broken_lines_of_text(tmp_path):
    lines = [b"a line of text"] * 200
    lines[7] = b"caf\xe9"
    (tmp_path / "a.txt").write_bytes(b"\n".join(lines))
    text, broken = read_documents(tmp_path / "a.txt")
    assert text.count("a line of text") == 199 and broken == Broken(8, "not UTF-8 at byte 3")


def test_more_than_one_line_in_a_hundred_is_too_much(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"text": "good"}\n' * 98 + "bad\n" * 2)
    with pytest.raises(RequestError, match=r"2 of 100 lines are broken, more than 1 % \(line 99: not JSON.*mend"):
        list(read_documents(path))
    assert len(list(read_documents(written(path, '{"text": "good"}\n' * 99 + "bad\n")))) == 100


@pytest.mark.parametrize(("name", "opener"), [("a.txt.gz", gzip.open), ("a.jsonl.xz", lzma.open)])
def test_a_cut_off_file_is_one_clear_error(tmp_path, name, opener):
    path = tmp_path / name
    with opener(path, "wt") as file:
        file.writelines(json.dumps({"text": f"text {i} {i * i}"}) + "\n" for i in range(3000))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RequestError, match=f"{name} cannot be read .*make it again"):
        list(read_documents(path))


def test_other_names_and_columns_are_refused(tmp_path):
    with pytest.raises(RequestError, match="not a .txt, .jsonl, .csv or .tsv file"):
        list(read_documents(tmp_path / "a.parquet"))
    path = written(tmp_path / "a.csv", "review,label\nx,1\n")
    with pytest.raises(RequestError, match="no column text .its header is review, label.: name one with --field"):
        list(read_documents(path))


def test_a_field_may_be_a_book(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["text"], ["a word " * 30_000]])
    assert "".join(read_documents(path)) == "a word " * 30_000


def test_long_documents_come_in_pieces_that_join_to_the_whole(tmp_path):
    text = "\n\n".join(f"Paragraph {i} of a book." for i in range(3000))
    found = list(read_documents(written(tmp_path / "a.jsonl", json.dumps({"text": text}))))
    assert len(found) > 5 and "".join(found) == text
    assert all(piece.startswith("Paragraph") for piece in found)


@given(st.lists(st.text("ab \n", max_size=60)), st.integers(5, 30))
def test_pieces_join_to_the_text_and_are_short(lines, size):
    before, documents.PIECE = documents.PIECE, size
    try:
        found = list(pieces(lines))
    finally:
        documents.PIECE = before
    assert "".join(found) == "".join(lines) and all(0 < len(piece) <= 3 * size for piece in found if piece)


@pytest.mark.parametrize(
    "line", [r'{"text": "half \ud83d a character"}', r'{"text": "nul \u0000"}', '{"text": "nul \0"}']
)
def test_a_line_with_characters_that_nobody_can_use_is_broken(tmp_path, line):
    path = tmp_path / "some.jsonl"
    path.write_text("".join(f'{{"text": "fine {at}"}}\n' for at in range(200)) + line)
    found = list(read_documents(path))
    assert [item.line for item in found if isinstance(item, Broken)] == [201] and len(found) == 201


def test_a_faulty_labelled_row_is_told_by_its_line(tmp_path):
    path = tmp_path / "some.tsv"
    path.write_text("sentence\tlabel\ngood\t1\n\nbad\tnone\n", encoding="utf-8-sig")
    with pytest.raises(RequestError, match=r"some\.tsv, line 4"):
        list(read_sst2(path))
    path.write_text("sentence\tlabel\ngood\t1\n\nbad\t0\n\n")
    assert [review.label for review in read_sst2(path)] == [1, 0]
