"""Test texts in documents: found wherever they stand and cut with their line; and the readers of the test sets."""

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.contamination import SHORTEST, HeldOutTexts, without
from training.held_out import is_held_out
from training.test_sets import TEST_SETS, HeldOutSet, read_lines
from training.words import LONGEST_RUN, Document

WORDS = [f"word{i}" for i in range(300)]


def text(seed, count):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def table(tmp_path, prose=(), sentences=()):
    (tmp_path / "prose.txt").write_text("\n".join(prose))
    (tmp_path / "sentences.txt").write_text("\n".join(sentences))
    sets = (HeldOutSet("prose", "prose.txt", read_lines), HeldOutSet("sentences", "sentences.txt", read_lines, True))
    return HeldOutTexts.read(tmp_path, sets)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_thirteen_words_in_common_are_found_and_twelve_are_not(tmp_path_factory, before, after, shared, seed):
    test = text(seed, 60)
    texts = table(tmp_path_factory.mktemp("t"), prose=[test])
    common = " ".join(test.split()[5 : 5 + shared])
    document = Document(f"first line\n{text(seed + 1, before)} {common.upper()}, {text(seed + 2, after)}\nlast")
    tests = {tuple(test.split()[i : i + LONGEST_RUN]) for i in range(60 - LONGEST_RUN + 1)}
    found = document.words
    expected = any(tuple(found[i : i + LONGEST_RUN]) in tests for i in range(len(found) - LONGEST_RUN + 1))
    passages = texts.find(document)
    assert bool(passages) == expected and expected >= (shared >= LONGEST_RUN)
    assert all(passage.sets == (0,) for passage in passages)


@pytest.mark.parametrize("size", range(SHORTEST, LONGEST_RUN))
def test_short_sentences_are_found_whole(tmp_path, size):
    sentence = text(1, size)
    texts = table(tmp_path, sentences=[sentence, text(2, SHORTEST - 1)])
    assert [p.sets for p in texts.find(Document(f"so {sentence}. And more"))] == [(1,)]
    assert not texts.find(Document(" ".join(sentence.split()[:-1])))
    assert not texts.find(Document(text(2, SHORTEST - 1)))
    assert texts.count(0) == 0 and texts.count(1) == 1


def test_lines_are_cut_and_mostly_contaminated_documents_dropped(tmp_path):
    test = text(1, 40)
    texts = table(tmp_path, prose=[test], sentences=[test])
    document = Document(f"{text(2, 30)}\n{test}\n\n{text(3, 30)}")
    (passage,) = texts.find(document)
    assert passage.line == 1 and passage.text == test and passage.sets == (0, 1)
    assert without(document, [passage]).text == f"{text(2, 30)}\n\n{text(3, 30)}"
    small = Document(f"{text(2, 30)}\n{test}")
    assert without(small, texts.find(small)) is None


def test_a_run_over_two_lines_touches_both(tmp_path):
    test = text(1, 13).split()
    texts = table(tmp_path, prose=[" ".join(test)])
    document = Document(f"a line\n{' '.join(test[:5])}\n{' '.join(test[5:])}\nanother")
    assert [passage.line for passage in texts.find(document)] == [1, 2]


def test_a_table_without_texts_finds_nothing(tmp_path):
    texts = HeldOutTexts.read(tmp_path, ())
    assert not texts.find(Document(text(1, 50))) and not texts.find(Document(""))
    texts.save(tmp_path / "table")
    assert not HeldOutTexts.load(tmp_path / "table").find(Document(text(1, 50)))


def test_the_table_survives_its_file(tmp_path):
    texts = table(tmp_path, prose=[text(1, 40)])
    texts.save(tmp_path / "table")
    again = HeldOutTexts.load(tmp_path / "table")
    assert again.find(Document(text(1, 40))) == texts.find(Document(text(1, 40))) != []


def sample(key):
    """A file of each test set's layout, and what it must yield."""
    squad = {
        "data": [
            {
                "title": f"T{i}",
                "paragraphs": [{"context": f"context {i}", "qas": [{"question": f"question {i}", "answers": []}]}],
            }
            for i in range(12)
        ]
    }
    held = [f"{kind} {i}" for i in range(12) if is_held_out(f"T{i}", 6) for kind in ("context", "question")]
    every = [f"{kind} {i}" for i in range(12) for kind in ("context", "question")]
    sentences = [f"sentence {i}" for i in range(40)]
    labelled = "".join(f"{sentence}\t1\n" for sentence in sentences)
    kept = [sentence for sentence in sentences if is_held_out(sentence, 10)]
    return {
        "heldout.jsonl.gz": (json.dumps({"text": "one\ntwo"}), ["one", "two"]),
        "wiki.test.raw.gz": ("a\n b\n", ["a\n", " b\n"]),
        "lambada_test.jsonl.gz": (json.dumps({"text": "one"}), ["one"]),
        "blimp.jsonl.gz": (json.dumps({"sentence_good": "g", "sentence_bad": "b"}), ["g", "b"]),
        "sst2_glue/test.tsv.gz": ("sentence\tlabel\nit 's good .\t1\n", ["it's good."]),
        "sst2_sentences/test.tsv.gz": ("it 's good .\t1\n", ["it's good."]),
        "labelled.txt": (labelled, kept),
        "agnews/test.tsv.gz": ("some news\tSports\n", ["some news"]),
        "dev-v1.1.json.gz": (json.dumps(squad), held),
        "dev-v2.0.json.gz": (json.dumps(squad), held),
        "cmrc2018_dev.json.gz": (json.dumps(squad), every),
    }[key]


@pytest.mark.parametrize("test", TEST_SETS, ids=lambda test: test.name)
def test_every_test_set_is_read_in_its_layout(tmp_path, test):
    keys = ["heldout.jsonl.gz", "wiki.test.raw.gz", "lambada_test.jsonl.gz", "blimp.jsonl.gz", "sst2_glue/test.tsv.gz",
            "sst2_sentences/test.tsv.gz", "labelled.txt", "agnews/test.tsv.gz", "dev-v1.1.json.gz", "dev-v2.0.json.gz",
            "cmrc2018_dev.json.gz"]  # fmt: skip
    content, wanted = sample(next(key for key in keys if test.path.endswith(key)))
    path = tmp_path / test.path
    path.parent.mkdir()
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write(content)
    assert wanted and list(test.read(path)) == wanted
