"""results.json round trips and refuses what is broken; the report says what the results say."""

import copy
import json
from pathlib import Path

import pytest

from evals.measurement import Measurement
from evals.reporting.table import cell, in_words, markdown
from evals.runs.results import SCHEMA, InvalidResults, PairedTest, Result, read_results, validate, write_results
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
    Result(
        "b", "qa", Measurement("f1_difference", -0.1, "", (-0.2, -0.01), 0.05, 50, {"task": "squad"}), "a",
        PairedTest("paired bootstrap", 0.03, 0.14, 0.06), "b/samples_squad.jsonl",
    ),
    Result("b", "speed", Measurement("decode_speedup", 1.01, "times", (0.97, 1.05), 0.02, 5, TURNS), "a"),
    Result("a", "memory", Measurement("parameters", 10, "count", protocol={"name": "exact"})),
]  # fmt: skip
STORED = [Path(__file__).parents[2] / "benchmarks" / "results" / name for name in ("one_shot", "embedded_quality")]


@pytest.fixture
def document():
    return {
        "schema_version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "command": "python -m evals run a b",
        "environment": {
            "gpu": None,
            "cpu": "Some CPU",
            "threads": 2,
            "load_average": 0.5,
            "python": "3.11",
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


def test_the_schema_is_one_of_its_draft():
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_results_of_earlier_runs_stay_readable(folder):
    document = read_results(folder)
    results = [Result.from_dict(entry) for entry in document["results"]]
    assert [result.as_dict()["value"] for result in results] == [entry["value"] for entry in document["results"]] != []
    assert markdown(document).startswith("# Evaluation")


def test_fields_that_are_absent_in_earlier_runs_may_be(document, tmp_path):
    for entry in document["results"]:
        del entry["test"], entry["samples"]
    write_results(tmp_path, document)
    assert Result.from_dict(read_results(tmp_path)["results"][0]) == RESULTS[0]


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
    (_with(1.5, "p", "results", 3, "test"), r"results\[3\].test has 1.5 for 'p'"),
    (_without("p_holm", "results", 3, "test"), "lacks 'p_holm'"),
    (_with(float("inf"), "speed", "results", 0, "protocol"), "inf for 'speed', which is not finite"),
    (_with("two", "threads", "environment"), "environment has 'two' for 'threads'"),
    (_without("cpu", "environment"), "environment lacks 'cpu'"),
    (_with([1], "harness"), r"harness has 1 for 0"),
    (_with([1], "notes"), r"notes has 1 for 0"),
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
    assert len(rows) == 4  # its perplexity, and how perplexity, answers and speed compare with the baseline's


LOW, HIGH = (-0.2, -0.1), (0.1, 0.2)


@pytest.mark.parametrize(
    ("interval", "p", "holm", "words"),
    [
        (LOW, 0.01, 0.03, "lower"),
        (HIGH, 0.01, None, "higher"),
        (HIGH, 0.03, 0.09, "higher alone, within noise among all tasks"),
        (HIGH, 0.3, 0.9, "within noise"),  # the test does not bear out what the interval says
        ((-0.1, 0.1), 0.01, 0.01, "within noise"),
        (HIGH, None, None, "higher"),
        ((0.0, 0.0), 1.0, 1.0, "no difference"),
    ],
)
def test_a_verdict_takes_in_the_interval_the_test_and_the_number_of_tasks(interval, p, holm, words):
    measured = Measurement("accuracy_difference", sum(interval) / 2, "", interval)
    assert in_words(Result("a", "g", measured, "b", PairedTest("exact", p, 0.1, holm))) == words


def test_a_figure_of_a_pair_that_is_no_difference_gets_no_verdict():
    assert cell(Result("a", "g", Measurement("flip_rate", 0.5, "", (0.4, 0.6)), "b")) == "0.50 (0.40 to 0.60)"


def test_wide_tables_turn_on_their_side_and_long_ones_become_lists(document):
    many = [Measurement(f"figure_{at}", at, "") for at in range(9)]
    document["results"] = [Result(name, "g", each).as_dict() for name in "ab" for each in many]
    rows = [line for line in markdown(document).splitlines() if line.startswith("| figure")]
    assert len(rows) == 10 and rows[0].split("|")[2:4] == [" a    ", " b    "]
    document["models"] = [model(name) for name in "abcdefgh"]
    document["results"] = [Result(name, "g", each).as_dict() for name in "abcdefgh" for each in many]
    assert len([line for line in markdown(document).splitlines() if "| figure " in line]) == 8 * 9 + 1


def test_every_baseline_has_a_table_of_its_own(document):
    more = Result("a", "perplexity", Measurement("perplexity_ratio", 0.9, "times", (0.8, 0.95), protocol=GPTQ), "b")
    document["results"].append(more.as_dict())
    report = markdown(document)
    assert "Against `a`:" in report and "Against `b`:" in report and report.count("(baseline)") == 2


def test_names_cannot_break_a_table(document):
    document["models"][0]["id"] = document["results"][0]["model"] = "a|b"
    document["results"] = document["results"][:1]
    assert "| a\\|b" in markdown(document)


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
