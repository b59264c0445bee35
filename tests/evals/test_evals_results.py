"""results.json round trips and refuses what is broken; the report says what the results say."""

import copy
import json

import pytest

from evals.measurement import Measurement
from evals.results import InvalidResults, Result, read_results, validate, write_results
from evals.table import cell, markdown
from models.errors import RequestError


def model(name):
    return dict(
        id=name, revision=None, family="llama", dtype="float32", parameters=10, nonzero_parameters=5,
        bytes_in_memory=40, bytes_if_packed=22, bytes_on_disk=48,
    )  # fmt: skip


GPTQ, TURNS = {"name": "gptq", "length": 512}, {"name": "interleaved"}
RESULTS = [
    Result("a", "perplexity", Measurement("perplexity", 30.0, "", (29.0, 31.0), 0.4, 12, GPTQ)),
    Result("b", "perplexity", Measurement("perplexity", 33.0, "", (32.0, 34.0), 0.4, 12, GPTQ)),
    Result("b", "perplexity", Measurement("perplexity_ratio", 1.1, "times", (1.05, 1.15), 0.02, 12, GPTQ), "a"),
    Result("b", "speed", Measurement("decode_speedup", 1.01, "times", (0.97, 1.05), 0.02, 5, TURNS), "a"),
    Result("a", "memory", Measurement("parameters", 10, "count", protocol={"name": "exact"})),
]


@pytest.fixture
def document():
    return {
        "schema_version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "command": "python -m evals run a b",
        "environment": {
            "gpu": None, "cpu": "Some CPU", "threads": 2, "load_average": 0.5, "python": "3.11",
            "libraries": {"torch": "2.8"},
        },  # fmt: skip
        "settings": {"quick": True},
        "models": [model("a"), model("b")],
        "results": [result.as_dict() for result in RESULTS],
        "notes": ["b: zeros save nothing."],
    }


def test_a_document_comes_back_as_it_was_written(document, tmp_path):
    path = write_results(tmp_path / "new", document)
    assert path.name == "results.json"
    assert read_results(path) == read_results(tmp_path / "new") == document
    assert [Result.from_dict(entry) for entry in document["results"]] == RESULTS


def _without(field, *place):
    def break_it(document):
        del _at(document, place)[field]

    return break_it


def _with(value, field, *place):
    def break_it(document):
        _at(document, place)[field] = value

    return break_it


def _at(document, place):
    for step in place:
        document = document[step]
    return document


BROKEN = [
    (_without("schema_version"), "lacks 'schema_version'"),
    (_with(2, "schema_version"), "schema version 2"),
    (_without("results"), "lacks 'results'"),
    (_with({}, "models"), "for 'models'"),
    (_with("x", 0, "models"), r"models\[0\] is not an object"),
    (_without("bytes_on_disk", "models", 1), r"models\[1\] lacks 'bytes_on_disk'"),
    (_with("many", "parameters", "models", 0), "'many' for 'parameters'"),
    (_with(True, "n", "results", 0), "True for 'n'"),
    (_with("b", "id", "models", 0), "a model twice"),
    (_with("c", "model", "results", 0), "the model 'c'"),
    (_with("c", "baseline", "results", 2), "the model 'c'"),
    (_with(None, "value", "results", 0), "None for 'value'"),
    (_with(float("nan"), "value", "results", 0), "not finite"),
    (_with([2.0, 1.0], "interval", "results", 0), "two ordered numbers"),
    (_with([1.0], "interval", "results", 0), "two ordered numbers"),
    (_with([1.0, float("inf")], "interval", "results", 0), "two ordered numbers"),
    (_with([], "protocol", "results", 0), "for 'protocol'"),
]


@pytest.mark.parametrize(("break_it", "line"), BROKEN)
def test_a_broken_document_is_refused_on_write_and_on_read(document, tmp_path, break_it, line):
    broken = copy.deepcopy(document)
    break_it(broken)
    with pytest.raises(InvalidResults, match=line):
        write_results(tmp_path / "out", broken)
    assert not (tmp_path / "out").exists()
    (tmp_path / "results.json").write_text(json.dumps(broken))
    with pytest.raises(InvalidResults, match=line) as refusal:
        read_results(tmp_path)
    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("content", ["", '{"schema_version": 1', "[]", "7"])
def test_a_file_that_is_no_results_document_is_refused(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(RequestError, match="results.json"):
        read_results(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        read_results(tmp_path)


def test_the_report_has_every_number_with_its_spread_and_the_verdicts(document):
    validate(document, "results")
    report = markdown(document)
    for text in ("30.0 ± 1.0", "33.0 ± 1.0", "1.100 times (1.050 to 1.150), higher", "within noise", "`a`: llama"):
        assert text in report
    assert "(baseline)" in report and "- b: zeros save nothing." in report and "length 512" in report
    rows = [line for line in report.splitlines() if line.startswith("| b")]
    assert len(rows) == 3  # its perplexity, and how perplexity and speed compare with the baseline's


@pytest.mark.parametrize(
    ("metric", "unit", "interval", "words"),
    [
        ("decode_speedup", "times", (1.2, 1.4), "faster"),
        ("decode_speedup", "times", (0.7, 0.9), "slower"),
        ("perplexity_ratio", "times", (1.2, 1.4), "higher"),
        ("nll_difference", "nats/token", (-0.1, 0.1), "within noise"),
        ("nll_difference", "nats/token", (0.1, 0.2), "higher"),
        ("nll_difference", "nats/token", None, "spread unknown"),
    ],
)
def test_a_comparison_ends_in_words(metric, unit, interval, words):
    assert cell(Result("b", "g", Measurement(metric, 1.0, unit, interval), "a")).endswith(f", {words}")
