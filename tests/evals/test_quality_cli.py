"""benchmarks/embedded_quality.py as a person runs it, on texts of its own and a tiny model."""

import gzip
import json
import shutil

import pytest

from evals.runs.results import read_results
from training.held_out import HELD_OUT_ARTICLES, HELD_OUT_SENTENCES, is_held_out

SCRIPT = "benchmarks/embedded_quality.py"


def held_out(stem: str, one_in: int, count: int) -> list[str]:
    """Names of which training would keep every one back."""
    return [name for name in (f"{stem} {at}" for at in range(1000)) if is_held_out(name, one_in)][:count]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A data folder with a few lines of each set."""
    root = tmp_path_factory.mktemp("data")

    def write(name: str, text: str) -> None:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
            file.write(text)

    def lines(rows: list[dict]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows)

    prose = "The gardener ties the young branches to the wall and cuts what grows away from it. " * 20
    write("wikipedia_en_2015/heldout.jsonl.gz", lines([{"text": prose}]))
    write("wikitext2/wiki.test.raw.gz", prose)
    pair = {"sentence_good": "A tree grows.", "sentence_bad": "A tree grow."}
    sets = {"a": "binding", "b": "binding", "c": "island_effects"}
    write("blimp/blimp.jsonl.gz", lines([pair | {"UID": s, "linguistics_term": sets[s]} for s in "aabbcc"]))
    write("lambada/lambada_test.jsonl.gz", lines([{"text": f"The gardener has {at} trees"} for at in range(4)]))
    rows = "".join(f"film {at}\t{at % 2}\n" for at in range(6))
    write("sst2_glue/test.tsv.gz", f"sentence\tlabel\n{rows}")
    for at, name in enumerate(("amazon_cells", "imdb", "yelp")):
        kept_back = held_out(name, HELD_OUT_SENTENCES, 2)
        write(f"reviews_uci/{name}_labelled.txt", "".join(f"{text}\t{at % 2}\n" for text in kept_back))
    paragraph = {
        "context": "The wall is old.",
        "qas": [
            {"id": str(at), "question": f"What is old, {at}?", "answers": [{"text": "The wall"}]} for at in range(3)
        ],
    }
    articles = held_out("article", HELD_OUT_ARTICLES, 2)
    write(
        "squad/dev-v1.1.json.gz",
        json.dumps({"data": [{"title": title, "paragraphs": [paragraph, paragraph]} for title in articles]}),
    )
    return root


def test_all_is_measured_and_stored(run_cli, source, tiny_folder, tmp_path):
    folder, out = tiny_folder(), tmp_path / "out"
    done = run_cli(SCRIPT, "--source", source, "--model", folder, "--out", out, "--quick")
    assert done.returncode == 0, done.stderr
    document = read_results(out)
    found = {}
    for entry in document["results"]:
        of = entry["protocol"].get("task") or entry["protocol"]["text"]
        assert found.setdefault((of, entry["metric"]), entry) is entry
    expected = {
        ("heldout.jsonl.gz", "bits_per_byte"): None, ("wiki.test.raw.gz", "perplexity"): None, ("blimp", "accuracy"): 6,
        ("blimp", "accuracy[binding]"): 4, ("lambada", "perplexity"): 4, ("sst2", "accuracy"): 6,
        ("sst2", "recall[positive]"): 6, ("uci_kept_back", "macro_f1"): 6, ("squad_kept_back", "exact_match"): 12,
        ("squad_kept_back", "f1"): 12, ("reviews_en", "accuracy"): 100, ("questions_en", "f1"): 100,
    }  # fmt: skip
    assert expected.keys() <= found.keys()
    assert all(found[key]["n"] == n for key, n in expected.items() if n)
    assert all(entry["interval"] for (_, metric), entry in found.items() if "perplexity" in metric)
    assert [text["id"] for text in document["settings"]["data"]] == ["heldout.jsonl.gz", "wiki.test.raw.gz"]
    written = document["samples"]
    assert [row["references"] for row in written["questions"]] == [["The wall"]] * 2
    assert written["greedy"].keys() == written["drawn"].keys()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model", "somewhere"], "--out is missing"),
        (["--quick"], "--out is missing"),
        (["--quick", "--out", "benchmarks/results/embedded_quality"], "published results"),
        (["--model", "models/embedded", "--out", "benchmarks/results/embedded_quality"], "published results"),
        ([], "sst2 needs sst2_glue/test.tsv.gz"),
    ],
)
def test_what_would_overwrite_the_published_figures_or_cannot_run_is_refused(run_cli, tmp_path, words, line):
    for file in ("wikipedia_en_2015/heldout.jsonl.gz", "wikitext2/wiki.test.raw.gz"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    done = run_cli(SCRIPT, "--source", tmp_path, *words)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_text_that_is_missing_is_told_before_anything_is_measured(run_cli, source, tiny_folder, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(source, folder)
    (folder / "wikitext2/wiki.test.raw.gz").unlink()
    done = run_cli(SCRIPT, "--source", folder, "--model", tiny_folder(), "--out", tmp_path / "out")
    assert done.returncode == 2 and "wiki.test.raw.gz does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()
