"""Corpus building: sources, tokenizer, token file, windows."""

import gzip
import json
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.errors import Cancelled, RequestError
from training.corpus import Corpus, build_corpus
from training.sources import Source, join_tokens, read_labelled_lines, read_novels, read_squad, read_sst2, read_wikipedia

ARTICLES = [{"id": i, "title": f"Article {i}", "text": f"The tree number {i} grows {i * 7} leaves. " * 20} for i in range(60)]
NOVELS = [{"author": "A", "title": "B", "year": 1900, "text": "\n\n".join(f"Paragraph {i} of a book." for i in range(900))}]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    with lzma.open(folder / "wiki.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(article) + "\n" for article in ARTICLES)
    with gzip.open(folder / "novels.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(novel) + "\n" for novel in NOVELS)
    return folder


SOURCES = (
    Source("wiki", "wiki.jsonl.xz", "CC", read_wikipedia),
    Source("novels", "novels.jsonl.gz", "PD", read_novels),
)


@pytest.fixture(scope="module")
def corpus(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "corpus"
    build_corpus(root, out, vocabulary=400, context=32, sources=SOURCES)
    return Corpus(out)


def test_every_document_is_in_the_stream_once(corpus, root):
    text = corpus.tokenizer.decode(np.asarray(corpus.tokens).tolist())
    documents = text.split("<|endoftext|>")[1:]
    wanted = [document for source in SOURCES for document in source.open(root)]
    assert sorted(documents) == sorted(wanted)
    assert documents != wanted, "the documents were not shuffled"


def test_the_manifest_counts_what_is_there(corpus, root):
    manifest = corpus.manifest
    documents = [document for source in SOURCES for document in source.open(root)]
    assert manifest["documents"] == len(documents)
    assert manifest["characters"] == sum(map(len, documents))
    assert manifest["tokens"] == len(corpus.tokens)
    assert [source["licence"] for source in manifest["sources"]] == ["CC", "PD"]


def test_the_same_seed_builds_the_same_bytes(corpus, root, tmp_path):
    again = build_corpus(root, tmp_path / "again", vocabulary=400, context=32, sources=SOURCES)
    other = build_corpus(root, tmp_path / "other", vocabulary=400, context=32, seed=1, sources=SOURCES)
    assert again["sha256"] == corpus.manifest["sha256"] != other["sha256"]


def test_a_window_epoch_covers_every_target_once(corpus):
    count = (len(corpus.tokens) - 1) // 16
    windows = corpus.windows(16, seed=3)
    first = [next(windows) for _ in range(count)]
    targets = np.sort(np.concatenate([window[1:] for window in first]))
    assert np.array_equal(targets, np.sort(np.asarray(corpus.tokens[1 : 16 * count + 1], dtype=np.int64)))
    second = [next(windows) for _ in range(count)]
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_text_survives_the_tokenizer(corpus):
    for text in ("12 cats, don't!", "  two  spaces\n\nand lines", "中文 émigré 🙂"):
        ids = corpus.tokenizer(text)["input_ids"]
        assert ids[0] == corpus.tokenizer.bos_token_id
        assert corpus.tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_missing_source_leaves_nothing(root, tmp_path):
    missing = (*SOURCES, Source("gone", "gone.jsonl.xz", "CC", read_wikipedia))
    with pytest.raises(RequestError, match="gone.jsonl.xz does not exist"):
        build_corpus(root, tmp_path / "out", 400, 32, sources=missing)
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_build_leaves_nothing(root, tmp_path):
    def cancel(fraction, message):
        if fraction > 0.2:
            raise Cancelled()

    with pytest.raises(Cancelled):
        build_corpus(root, tmp_path / "out", 400, 32, sources=SOURCES, progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_cut_token_file_is_refused(corpus, root, tmp_path):
    build_corpus(root, tmp_path / "c", 400, 32, sources=SOURCES)
    tokens = tmp_path / "c" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(RequestError, match="build it again"):
        Corpus(tmp_path / "c")


def test_novels_come_in_pieces_that_join_to_the_whole(root):
    pieces = list(read_novels(root / "novels.jsonl.gz", characters=1000))
    assert len(pieces) > 5
    assert "\n".join(pieces) == NOVELS[0]["text"].replace("\n\n", "\n")


@pytest.mark.parametrize(
    ("spaced", "joined"),
    [
        ("it 's good , do n't miss it .", "it's good, don't miss it."),
        ("`` great '' -lrb- really -rrb- !", '"great" (really)!'),
        ("plain words", "plain words"),
    ],
)
def test_treebank_spacing_is_undone(spaced, joined):
    assert join_tokens(spaced) == joined


def test_labelled_sets_are_read(tmp_path):
    (tmp_path / "sst.tsv").write_text("sentence\tlabel\na fine film .\t1\ndull\t0\n")
    (tmp_path / "uci.txt").write_text("Wow... Loved\tthis place.\t1\nbroken line\nBad.  \t0\n")
    assert [(r.text, r.label) for r in read_sst2(tmp_path / "sst.tsv")] == [("a fine film.", 1), ("dull", 0)]
    assert [(r.text, r.label) for r in read_labelled_lines(tmp_path / "uci.txt")] == [("Wow... Loved\tthis place.", 1), ("Bad.", 0)]


def test_squad_is_read_without_unanswerable_questions(tmp_path):
    questions = [
        {"question": "Who?", "answers": [{"text": "Ada"}, {"text": "Ada"}, {"text": "she"}]},
        {"question": "Why?", "answers": []},
    ]
    data = {"data": [{"title": "T", "paragraphs": [{"context": "Ada wrote.", "qas": questions}, {"context": "x", "qas": []}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(data))
    (passage,) = read_squad(tmp_path / "squad.json")
    assert (passage.article, passage.questions) == ("T", (("Who?", ("Ada", "she")),))


@given(st.integers(2, 40), st.integers(0, 5))
def test_window_lengths(length, seed):
    corpus = Corpus.__new__(Corpus)
    corpus.tokens = np.arange(200, dtype="<u2")
    window = next(corpus.windows(length, seed))
    assert len(window) == length + 1 and np.all(np.diff(window) == 1)
