"""The published pages: filled from what is stored, and left as they are where that is missing or of another form."""

import json
import sys

import pytest

from benchmarks import publish
from benchmarks.publishing import embedded, stored
from evals import registry, task
from evals.measurement import Measurement
from evals.runs.results import Result

PLACE = {
    "cpu": "Some CPU", "gpu": None, "threads": 2, "load_average": 0.5, "python": "3.11",
    "libraries": {"torch": "2.8", "transformers": "5.1"}, "lm_eval": "0.4",
}  # fmt: skip
MODEL = {
    "id": "embedded", "revision": None, "parameters": 5, "nonzero_parameters": 5, "bytes_in_memory": 5,
    "bytes_if_packed": 5, "bytes_on_disk": 5,
}  # fmt: skip
TIMES = {"ours_median": 1.0, "theirs_median": 3.0, "ratio": 3.0, "interval": [2.5, 3.5], "ours_seconds": [1.0] * 5}


def quality() -> dict:
    """Results of embedded_quality.py with every figure that the card shows, and some that it does not."""
    keys = [
        *embedded.NAMES, ("sst2", "brier"), ("blimp", "accuracy[npi_licensing]"),
        *(("sst2", f"{score}[{label}]") for score in embedded.SCORES for label in embedded.CLASSES),
    ]  # fmt: skip
    results = []
    for at, (of, metric) in enumerate(keys):
        protocol = {"text": of} if of.endswith(".gz") else {"task": of}
        value = 30.0 if metric == "perplexity" else 0.5 + at / 100
        found = Measurement(metric, value, "", (0.9 * value, 1.1 * value), 0.01, 100 + at, protocol)
        results.append(Result("embedded", "group", found).as_dict())
    questions = [{"question": "What | who?", "answer": "a\nwall", "references": ["the wall", "wall"]}]
    ways = {way: {"She opened": " the\n door"} for way in embedded.WAYS}
    return {
        "schema_version": 1, "created": "2026-01-02T03:04:05+00:00", "command": "python x", "environment": PLACE,
        "settings": {}, "models": [MODEL], "results": results, "notes": [], "samples": ways | {"questions": questions},
    }  # fmt: skip


def parity() -> dict:
    side = {"ours": 0.5, "theirs": 0.5}
    choices = {"largest_difference_nats": 1.3e-5, "choices": 96, "accuracy": side | {"answers_alike": True}}
    texts = {name: side | {"relative_difference": 2e-9} for name in ("word_perplexity", "bits_per_byte")}
    found = {"choices": choices | {"accuracy_norm": side | {"answers_alike": False}}, "texts": texts}
    protocol = {"model": "embedded", "dtype": "float32", "questions": 24, "made_of": "SQuAD 1.1", "documents": 9}
    results = found | dict.fromkeys(("speed", "start", "help"), TIMES)
    return {"command": "python x", "environment": PLACE, "protocol": protocol, "results": results}


def coverage() -> dict:
    row = {
        "source": "process",
        "windows": 12,
        "document": 0.5,
        "beyond": False,
        "coverage": 0.95,
        "interval": [0.94, 0.96],
    }
    methods = ("blocks, studentised", "paired difference", "t over windows", "blocks, percentile")
    own = {"source": "model", "windows": 1, "length": 64, "beyond": True, "coverage": 0.9, "interval": [0.8, 0.95]}
    rows = [each | {"method": method} for each in (row, own) for method in methods]
    return {"command": "python x", "environment": PLACE, "protocol": {"resamples": 2000}, "results": rows}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of stored results, empty; `store(name, document)` fills it."""
    monkeypatch.setattr(stored, "RESULTS", tmp_path)

    def store(name: str, document: dict) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "results.json").write_text(json.dumps(document))

    return store


def block(name: str) -> str:
    return publish.BLOCKS[name]()


def test_the_card_shows_every_figure_with_its_spread_and_its_count(results):
    results("embedded_quality", quality())
    lines = block("embedded-quality").splitlines()
    assert len(lines) == len(embedded.NAMES) + 4 and lines[-1].startswith("Some CPU, 2 threads, torch 2.8")
    told = {
        cells[1].strip(): (cells[2].strip(), cells[3].strip()) for cells in (line.split("|") for line in lines[2:-2])
    }
    assert told["Perplexity, WikiText-2 test (raw)"] == ("30.0 ± 3.0", "102")
    assert told["BLiMP accuracy"] == ("54.0 ± 5.4 %", "104")
    assert "npi licensing" in block("embedded-grammar") and "| positive" in block("embedded-classes")


def test_samples_are_one_line_each_and_may_hold_a_bar(results):
    results("embedded_quality", quality())
    text = block("embedded-samples")
    assert text.count("> **She opened** the door") == 2
    assert [cell.strip() for cell in text.splitlines()[-1].split(" | ")] == [
        "| What \\| who?",
        "a wall",
        "the wall; wall |",
    ]


def test_parity_and_coverage_are_told(results):
    results("harness_parity", parity())
    text = block("harness-parity")
    assert "3.00 (2.50 to 3.50) times as fast" in text and "at most 1.3e-05 nats apart" in text
    assert text.count("every answer alike") == text.count("answers differ") == 1 and "medians of 5" in text
    results("interval_coverage", coverage())
    first, second = block("interval-coverage").splitlines()[2:4]
    assert first.count("95.0 % (94.0 to 96.0)") == 4 and first.split("|")[1].strip() == "known process"
    assert "too short to tell" in second and "| 0.5" not in second


def test_metrics_and_tasks_are_those_that_are_registered():
    metrics, tasks = block("metrics").splitlines()[2:], block("tasks").splitlines()[2:]
    assert [line.split("`")[1] for line in metrics] == registry.names()
    assert [line.split("`")[1] for line in tasks] == task.names()
    assert "yelp_labelled.txt" in next(line for line in tasks if "uci_kept_back" in line)


def test_a_block_without_its_results_or_with_others_keeps_its_text_and_says_so(results):
    text = "".join(
        f"<!-- begin: {name} -->\nold {name}\n<!-- end: {name} -->\n" for name in ("embedded-quality", "metrics")
    )
    for document in (None, quality() | {"results": []}, {"results": {}}):
        if document:
            results("embedded_quality", document)
        new, (line,) = publish.filled(text)
        assert "old embedded-quality" in new and "old metrics" not in new
        assert line.startswith("embedded-quality keeps its text: ") and "\n" not in line
    results("embedded_quality", quality())
    new, kept = publish.filled(text)
    assert "old" not in new and not kept and publish.filled(new) == (new, [])


def test_check_writes_nothing_and_tells_a_stale_page(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    page.write_text("<!-- begin: metrics -->\nold\n<!-- end: metrics -->\n")
    monkeypatch.setattr(publish, "PAGES", (page,))
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["publish.py", "--check"])
    assert publish.main() == 1 and "old" in page.read_text() and "README.md: out of date" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["publish.py"])
    assert publish.main() == 0 and "old" not in page.read_text()
    monkeypatch.setattr(sys, "argv", ["publish.py", "--check"])
    assert publish.main() == 0


def test_every_block_of_the_pages_is_known():
    for page in publish.PAGES:
        assert {match[2] for match in publish.BLOCK.finditer(page.read_text(encoding="utf-8"))} <= publish.BLOCKS.keys()
