"""benchmarks/embedded_quality.py as a person runs it, on texts of its own and a tiny model."""

import gzip
import json

import pytest

from evals.results import read_results
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
    sets = {"a": "agreement", "b": "agreement", "c": "islands"}
    write("blimp/blimp.jsonl.gz", lines([pair | {"UID": s, "linguistics_term": sets[s]} for s in "aabbcc"]))
    write("lambada/lambada_test.jsonl.gz", lines([{"text": f"The gardener has {at} trees"} for at in range(4)]))
    rows = "".join(f"film {at}\t{at % 2}\n" for at in range(6))
    write("sst2_glue/test.tsv.gz", f"sentence\tlabel\n{rows}")
    write("sst2_glue/train.tsv.gz", "sentence\tlabel\nnot read\t1\n")
    for at, name in enumerate(("amazon_cells", "imdb", "yelp")):
        kept_back = held_out(name, HELD_OUT_SENTENCES, 2)
        write(f"reviews_uci/{name}_labelled.txt", "".join(f"{text}\t{at % 2}\n" for text in kept_back))
    paragraph = {
        "context": "The wall is old.",
        "qas": [{"question": f"What is old, {at}?", "answers": [{"text": "The wall"}]} for at in range(3)],
    }
    articles = held_out("article", HELD_OUT_ARTICLES, 2)
    write(
        "squad/dev-v1.1.json.gz",
        json.dumps({"data": [{"title": title, "paragraphs": [paragraph, paragraph]} for title in articles]}),
    )
    return root


def test_all_groups_are_measured_and_stored(run_cli, source, tiny_folder, tmp_path):
    folder, out = tiny_folder(), tmp_path / "out"
    done = run_cli(SCRIPT, "--source", source, "--model", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    document = read_results(out)
    found = {entry["metric"]: entry for entry in document["results"]}
    expected = {
        "wikipedia_heldout bits_per_byte": None, "wikitext2_test_raw perplexity": None, "blimp accuracy": 6,
        "blimp accuracy[agreement]": 4, "lambada perplexity": 4, "sst2_test accuracy": 6,
        "sst2_test recall[positive]": 6, "uci_heldout macro_f1": 6, "squad_heldout exact_match": 8,
        "squad_heldout f1": 8,
    }  # fmt: skip
    assert expected.keys() <= found.keys()
    assert all(found[metric]["n"] == n for metric, n in expected.items() if n)
    assert all(entry["interval"] for metric, entry in found.items() if "perplexity" in metric)
    assert found["squad_heldout f1"]["protocol"]["interval_over"] == "4 paragraphs"
    written = document["samples"]
    assert len(written["questions"]) == 2 and written["greedy"].keys() == written["drawn"].keys()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model", "somewhere"], "--out is missing"),
        (["--quick"], "--out is missing"),
        (["--quick", "--out", "benchmarks/results/embedded_quality"], "published results"),
        (["--model", "models/embedded", "--out", "benchmarks/results/embedded_quality"], "published results"),
        ([], "blimp.jsonl.gz does not exist"),
    ],
)
def test_what_would_overwrite_the_published_figures_or_cannot_run_is_refused(run_cli, tmp_path, words, line):
    for file in ("wikipedia_en_2015/heldout.jsonl.gz", "wikitext2/wiki.test.raw.gz"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    done = run_cli(SCRIPT, "--source", tmp_path, *words)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1
