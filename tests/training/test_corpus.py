"""Building a corpus: what the real command finds, that a killed build goes on to the same bytes, and reading it."""

import gzip
import json
import lzma
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Cancelled, RequestError
from training.build import Recipe, build_corpus
from training.corpus import Corpus
from training.documents import read_documents
from training.permutation import Permutation
from training.sources import Source, join_tokens, read_labelled_lines, read_squad, read_sst2

WORDS = (
    "the of and to that with have be river garden branch wall early winter stone people water small grows runs holds "
    "bridge tower letter window morning evening quiet market road field harbour engine village doctor student"
).split()


def prose(seed, count=150):
    """Words in a random order that pass the filters, in lines of 25."""
    chosen = random.Random(seed).choices(WORDS, k=count)
    return "\n".join(" ".join(chosen[i : i + 25]) for i in range(0, count, 25))


ARTICLES = [{"title": f"Article {i}", "text": prose(i)} for i in range(60)]
NOVEL = {"text": "\n\n".join(prose(100 + i, 100) for i in range(80))}
SOURCES = (
    Source("wiki", "wiki.jsonl.xz", "CC", partial(read_documents, fields=("title", "text"))),
    Source("novels", "novels.jsonl.gz", "PD", read_documents),
)
RECIPE = Recipe(SOURCES, (), vocabulary=400, context=32, shard_tokens=4000)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    with lzma.open(folder / "wiki.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(article) + "\n" for article in ARTICLES)
    with gzip.open(folder / "novels.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(NOVEL) + "\n")
    return folder


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "corpus"
    build_corpus(root, out, RECIPE)
    return out


@pytest.fixture(scope="module")
def corpus(built):
    return Corpus(built)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_every_document_is_in_the_stream_once(corpus, root):
    documents = corpus.tokenizer.decode(corpus.tokens[:].tolist()).split("<|endoftext|>")[1:]
    wanted = [document.strip() for source in SOURCES for document in source.open(root)]
    assert sorted(documents) == sorted(wanted)
    assert documents != wanted, "the documents were not shuffled"


def test_the_manifest_counts_what_is_there(corpus, root):
    manifest = corpus.manifest
    documents = [document.strip() for source in SOURCES for document in source.open(root)]
    assert manifest["documents"] == manifest["report"]["kept"] == len(documents)
    assert manifest["characters"] == sum(map(len, documents))
    assert manifest["bytes"] == sum(len(document.encode()) for document in documents)
    assert manifest["tokens"] == len(corpus.tokens) == sum(shard["tokens"] for shard in manifest["shards"])
    assert [source["licence"] for source in manifest["sources"]] == ["CC", "PD"]
    assert [source["kept"] for source in manifest["sources"]] == [60, len(documents) - 60]


def test_shards_are_of_bounded_size(corpus):
    sizes = [shard["tokens"] for shard in corpus.manifest["shards"]]
    assert len(sizes) > 2 and all(4000 <= size < 4000 + len(corpus.tokens) / 2 for size in sizes[:-1])


def test_the_same_seed_builds_the_same_bytes_with_any_number_of_workers(built, root, tmp_path):
    build_corpus(root, tmp_path / "again", RECIPE, workers=2)
    assert contents(tmp_path / "again") == contents(built)
    other = build_corpus(root, tmp_path / "other", Recipe(SOURCES, (), 400, 32, seed=1, shard_tokens=4000))
    assert other["shards"] != Corpus(built).manifest["shards"]


def test_the_real_command_finds_what_was_planted(tmp_path, run_cli):
    tested = prose(900, 20).replace("\n", " ")
    sentence = "students seldom praise quiet harbour engines loudly"
    near = prose(3).split(" ")
    near[40] = "lighthouse"
    texts = [prose(i) for i in range(150)]
    texts.append(prose(7).upper().replace("\n", "  \r\n"))  # a duplicate but for case and spaces
    texts.append(" ".join(near))
    texts.append(f"{prose(901)}\n{tested}\n{prose(902)}")
    texts.append(f"Well, {sentence.title()}! {prose(903).replace(chr(10), ' ')}")
    texts += ["Too short.", "der die das und " * 30, prose(904).replace(" ", " #")]
    texts.append("the same of it and that again\n" * 40)
    lines = [json.dumps({"text": text}) for text in texts]
    lines.insert(11, '{"text": "half a li')
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")
    data = tmp_path / "data"
    (data / "wikitext2").mkdir(parents=True)
    (data / "blimp").mkdir()
    with gzip.open(data / "wikitext2/wiki.test.raw.gz", "wt") as file:
        file.write(f" = Title = \n\n {tested}, and more . \n")
    with gzip.open(data / "blimp/blimp.jsonl.gz", "wt") as file:
        file.write(json.dumps({"sentence_good": sentence, "sentence_bad": "too few words"}) + "\n")
    done = run_cli(
        "training", "data", "--text", tmp_path / "texts.jsonl", "--source", data, "--out", tmp_path / "out",
        "--vocabulary", 400, "--length", 64, "--workers", 1, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    corpus = Corpus(tmp_path / "out")
    report = corpus.manifest["report"]
    assert report["broken_lines"] == 1
    assert (report["broken"][0]["file"], report["broken"][0]["line"]) == ("texts.jsonl", 12)
    assert report["duplicates"]["exact"]["documents"] == report["duplicates"]["near"]["documents"] == 1
    assert report["duplicates"]["near"]["similarity"] >= 0.8
    assert report["contamination"]["WikiText-2 test"]["lines"] == 1
    assert report["contamination"]["WikiText-2 test"]["documents_cut"] == 1
    assert report["contamination"]["BLiMP"]["documents_dropped"] == 1
    assert {name: entry["documents"] for name, entry in report["dropped"].items()} == {
        "length": 1, "language": 1, "symbols": 1, "repeated_lines": 1,
    }  # fmt: skip
    assert report["read"] == len(texts) and report["kept"] == 151
    assert "LAMBADA test" in report["absent_test_sets"]
    text = corpus.tokenizer.decode(corpus.tokens[:].tolist())
    assert tested not in text and sentence.title() not in text and "lighthouse" not in text
    assert prose(901) in text and prose(902) in text
    for word in ("broken", "near", "line 12", "BLiMP", "LAMBADA"):
        assert word in done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "out", "texts.jsonl"]


KILLED = """
import os, psutil, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
import training.build
from pathlib import Path
from test_corpus import RECIPE
training.build.BATCH = 20_000
def progress(fraction, message):
    if fraction > {limit}:
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    training.build.build_corpus(Path({source!r}), Path({out!r}), RECIPE, {workers}, progress)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "workers"), [(0.2, 2), (0.9, 1)])
def test_a_killed_build_goes_on_to_the_same_bytes(built, root, tmp_path, limit, workers):
    here, out = Path(__file__).parent, tmp_path / "out"
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(
        tests=str(here), root=str(here.parent.parent), limit=limit, source=str(root), out=str(out), workers=workers
    ))  # fmt: skip
    done = subprocess.run([sys.executable, script], env=os.environ, capture_output=True, text=True, timeout=400)
    assert done.returncode == -signal.SIGKILL, done.stderr
    orphans = [psutil.Process(int(pid)) for pid in done.stdout.split() if psutil.pid_exists(int(pid))]
    assert not psutil.wait_procs(orphans, timeout=60)[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["killed.py", "out.partial"]
    seen = []
    build_corpus(root, out, RECIPE, progress=lambda fraction, message: seen.append(fraction))
    assert seen[0] > limit - 0.2, "it began again"
    assert contents(out) == contents(built)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["killed.py", "out"]


def cancelled(root, out):
    def cancel(fraction, message):
        raise Cancelled()

    with pytest.raises(Cancelled):
        build_corpus(root, out, RECIPE, progress=cancel)


def test_an_unfinished_build_of_other_options_is_refused(root, tmp_path):
    cancelled(root, tmp_path / "out")
    with pytest.raises(RequestError, match="other sources or options"):
        build_corpus(root, tmp_path / "out", Recipe(SOURCES, (), 401, 32, shard_tokens=4000))
    assert build_corpus(root, tmp_path / "out", RECIPE)["documents"] > 60


def test_two_builds_do_not_share_a_folder(root, tmp_path):
    refusals = []

    def build_again(fraction, message):
        if not refusals:
            with pytest.raises(RequestError, match="Another build is writing"):
                build_corpus(root, tmp_path / "out", RECIPE)
            refusals.append(fraction)

    build_corpus(root, tmp_path / "out", RECIPE, progress=build_again)
    assert refusals and (tmp_path / "out" / "manifest.json").exists()


def test_a_damaged_store_is_one_clear_error(root, tmp_path):
    cancelled(root, tmp_path / "out")
    (tmp_path / "out.partial" / "build.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(RequestError, match="damaged.*remove .*out.partial"):
        build_corpus(root, tmp_path / "out", RECIPE)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ((*SOURCES, Source("gone", "gone.jsonl.xz", "CC", read_documents)), "gone.jsonl.xz does not exist"),
        ((Source("novels", "novels.jsonl.gz", "PD", partial(read_documents, fields=("body",))),), "more than 1 %"),
        ((Source("empty", "empty.txt", "PD", read_documents),), "None of 0 documents"),
    ],
)
def test_bad_sources_leave_nothing(root, tmp_path, sources, words):
    (root / "empty.txt").touch()
    with pytest.raises(RequestError, match=words):
        build_corpus(root, tmp_path / "out", Recipe(sources, (), vocabulary=400))
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(RequestError, match="at least 258"):
        Recipe(vocabulary=257)


@pytest.mark.parametrize("damage", [lambda data: data[:-2], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_damaged_shard_is_refused(root, tmp_path, damage):
    build_corpus(root, tmp_path / "c", RECIPE)
    shard = tmp_path / "c" / "tokens-00000.bin"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(RequestError, match="tokens-00000.bin.*[Bb]uild the corpus again"):
        Corpus(tmp_path / "c")


def test_a_corpus_of_another_version_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"schema_version": 1, "tokens": 3}')
    with pytest.raises(RequestError, match="another version"):
        Corpus(tmp_path)


def test_a_window_epoch_covers_every_target_once(corpus):
    count = (len(corpus.tokens) - 1) // 16
    windows = corpus.windows(16, seed=3)
    first = [next(windows) for _ in range(count)]
    targets = np.sort(np.concatenate([window[1:] for window in first]))
    assert np.array_equal(targets, np.sort(corpus.tokens[1 : 16 * count + 1].astype(np.int64)))
    second = [next(windows) for _ in range(count)]
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("start", [0, 5, 700, 1500])
def test_windows_go_on_from_any_place(corpus, start):
    whole = corpus.windows(64, seed=2)
    for _ in range(start):
        next(whole)
    later = corpus.windows(64, seed=2, start=start)
    for _ in range(5):
        assert np.array_equal(next(whole), next(later))


def test_windows_need_a_whole_one(corpus):
    with pytest.raises(RequestError, match="fewer than 1"):
        next(corpus.windows(len(corpus.tokens), seed=0))


@given(st.integers(2, 40), st.integers(0, 5))
def test_window_lengths(length, seed):
    corpus = Corpus.__new__(Corpus)
    corpus.tokens = np.arange(200, dtype="<u2")
    window = next(corpus.windows(length, seed))
    assert len(window) == length + 1 and np.all(np.diff(window) == 1)


@given(st.integers(1, 3000), st.integers(0, 99))
def test_a_permutation_has_every_number_once(count, seed):
    order = Permutation(count, seed)
    assert sorted(order[place] for place in range(count)) == list(range(count))


def test_a_permutation_looks_like_chance():
    order = np.array([Permutation(4096, 1)[place] for place in range(4096)])
    assert abs(np.corrcoef(order, np.arange(4096))[0, 1]) < 0.06
    assert 0.5 < np.mean(np.abs(np.diff(order))) / (4096 / 3) < 1.5
    firsts = Counter(Permutation(4, seed)[0] for seed in range(800))
    assert min(firsts.values()) > 140


def test_text_survives_the_tokenizer(corpus):
    for text in ("12 cats, don't!", "  two  spaces\n\nand lines", "中文 émigré 🙂"):
        ids = corpus.tokenizer(text)["input_ids"]
        assert ids[0] == corpus.tokenizer.bos_token_id
        assert corpus.tokenizer.decode(ids, skip_special_tokens=True) == text


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
    lines = [(r.text, r.label) for r in read_labelled_lines(tmp_path / "uci.txt")]
    assert lines == [("Wow... Loved\tthis place.", 1), ("Bad.", 0)]


def test_squad_is_read_without_unanswerable_questions_unless_asked(tmp_path):
    questions = [
        {"question": "Who?", "answers": [{"text": "Ada"}, {"text": "Ada"}, {"text": "she"}]},
        {"question": "Why?", "answers": []},
    ]
    paragraphs = [{"context": "Ada wrote.", "qas": questions}, {"context": "x", "qas": []}]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}))
    (passage,) = read_squad(tmp_path / "squad.json")
    assert (passage.article, passage.questions) == ("T", (("Who?", ("Ada", "she")),))
    (passage,) = read_squad(tmp_path / "squad.json", unanswerable=True)
    assert passage.questions == (("Who?", ("Ada", "she")), ("Why?", ()))
