"""`python -m evals run` from end to end, on tiny folders, as a person runs it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals import evaluate_models, registry
from evals.runs.results import read_results
from models.errors import Cancelled, RequestError
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def pair(tiny_folder):
    """A dense folder and one with half of its MLP weights zero."""
    dense = tiny_folder("llama")
    model = AutoModelForCausalLM.from_pretrained(dense)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight[:, ::2] = 0
            layer.mlp.gate_proj.weight[:, ::2] = 0
    pruned = dense.parent / "pruned"
    model.save_pretrained(pruned)
    AutoTokenizer.from_pretrained(dense).save_pretrained(pruned)
    return str(dense), str(pruned)


@pytest.fixture(scope="module")
def report(pair, run_cli, tmp_path_factory):
    """The finished process of a whole quick run, and its folder."""
    out = tmp_path_factory.mktemp("run") / "deep" / "out"
    return run_cli("evals", "run", *pair, "--out", out, "--quick", "--dtype", "float32"), out


def test_a_run_prints_the_report_it_writes(report, pair):
    process, out = report
    assert process.returncode == 0, process.stderr
    assert process.stdout == (out / "report.md").read_text()
    assert {file.name for file in out.iterdir() if file.is_file()} == {"report.md", "results.json"}
    document = json.loads((out / "results.json").read_text())
    assert document["harness"] and all((out / name).is_file() for name in document["harness"])
    for words in ("## Perplexity", "## Speed", "## Memory", "decode speedup", "zeros, stored densely"):
        assert words in process.stdout
    assert "100%" in process.stderr


def test_the_results_hold_every_metric_of_both_models_with_spreads(report, pair):
    document = read_results(report[1])
    layouts = [f"{pair[0]}::dense", f"{pair[1]}::auto", f"{pair[1]}::int8"]  # timed beside a sparse model
    assert [model["id"] for model in document["models"]] == [*pair, *layouts]
    assert document["models"][3]["bytes_in_memory"] < document["models"][0]["bytes_in_memory"]
    assert document["models"][3]["nonzero_parameters"] == document["models"][1]["nonzero_parameters"]
    assert document["models"][1]["nonzero_parameters"] < document["models"][0]["nonzero_parameters"]
    assert document["models"][0]["bytes_in_memory"] == document["models"][1]["bytes_in_memory"]
    found = {(entry["model"], entry["metric"]): entry for entry in document["results"]}
    for name in pair:
        for metric in ("perplexity", "bits_per_byte", "ttft", "tpot", "prefill_rate", "decode_rate"):
            low, high = found[name, metric]["interval"]
            assert low <= found[name, metric]["value"] <= high
        for metric in ("parameters", "nonzero_parameters", "bytes_in_memory", "bytes_on_disk", "peak_resident"):
            assert found[name, metric]["value"] > 0
    for metric in ("nll_difference", "perplexity_ratio", "prefill_speedup", "decode_speedup"):
        assert found[pair[1], metric]["baseline"] == pair[0]
        assert (pair[0], metric) not in found
    assert document["environment"]["libraries"]["torch"] and document["command"].startswith("python -m evals run")


def test_json_prints_only_the_document(pair, main, tmp_path):
    (tmp_path / "text.txt").write_text("A tree beside a wall. " * 80)
    text = ("--data", tmp_path / "text.txt")
    code, printed, errors = main("run", pair[0], "--out", tmp_path / "out", "--metrics", "perplexity", *text, "--json")
    assert code == 0, errors
    document = json.loads(printed)
    assert document == read_results(tmp_path / "out")
    assert document["settings"]["data"]["id"] == "text.txt" and document["settings"]["metrics"] == ["perplexity"]
    assert {entry["metric"] for entry in document["results"]} == {"perplexity", "bits_per_byte"}


def test_the_same_run_gives_the_same_numbers(pair):
    runs = [evaluate_models(pair, metrics=["perplexity"], quick=True, dtype="float32") for _ in range(2)]
    assert runs[0]["results"] == runs[1]["results"]


def test_models_with_other_tokenizers_are_not_compared_by_perplexity(pair, tmp_path, tiny_model):
    train_tokenizer(["A tree beside a wall, another text altogether."] * 9, 300).save_pretrained(tmp_path / "other")
    tiny_model().save_pretrained(tmp_path / "other")
    document = evaluate_models([pair[0], str(tmp_path / "other")], metrics=["perplexity"], dtype="float32")
    assert all(entry["baseline"] is None for entry in document["results"])
    assert len([entry for entry in document["results"] if entry["metric"] == "bits_per_byte"]) == 2
    assert "tokens_sha256" in document["notes"][0] and "Bits per byte" in document["notes"][0]


def test_a_run_that_was_cut_off_goes_on_and_times_nothing_twice(pair, tmp_path, monkeypatch):
    def cancel(fraction, message):
        if fraction > 0.6:
            raise Cancelled

    words = dict(metrics=["memory", "perplexity"], quick=True, dtype="float32", cache=None)
    with pytest.raises(Cancelled):
        evaluate_models([pair[0]], out=tmp_path / "out", progress=cancel, **words)
    kept = {file.name for file in (tmp_path / "out").iterdir()}
    assert kept == {"unfinished.json"}

    def refuse(trial):
        raise AssertionError("memory was measured before")

    monkeypatch.setitem(registry._REGISTERED, "memory", replace(registry.find("memory"), measure=refuse))
    document = evaluate_models([pair[0]], out=tmp_path / "out", **words)
    assert not (tmp_path / "out" / "unfinished.json").exists()
    assert {entry["group"] for entry in document["results"]} == {"memory", "perplexity"}


def test_cancelling_writes_nothing(pair, tmp_path):
    def cancel(fraction, message):
        if fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_models(pair, out=tmp_path / "out", metrics=["perplexity"], progress=cancel)
    assert not (tmp_path / "out").exists()


BAD_REQUESTS = {
    "no model": ([], "required: MODEL"),
    "unknown command": (["grow"], "invalid choice"),
    "missing folder": (["{dense}", "/no/such/folder"], "There is no folder"),
    "twice the same": (["{dense}", "{dense}"], "named twice"),
    "unknown metric": (["{dense}", "--metrics", "perplexity,beauty"], "Unknown metric 'beauty': use some of"),
    "no metric": (["{dense}", "--metrics", ","], "no metric"),
    "missing text": (["{dense}", "--data", "absent.txt"], "no file absent.txt"),
    "unknown device": (["{dense}", "--device", "tpu"], "Unknown device"),
    "unknown dtype": (["{dense}", "--dtype", "int3"], "Unknown dtype"),
    "unknown task": (["{dense}", "--tasks", "beauty"], "Unknown task 'beauty'"),
    "task without its data": (["{dense}", "--tasks", "blimp"], "--source"),
    "missing source": (["{dense}", "--tasks", "blimp", "--source", "absent"], "no folder absent"),
    "limit of none": (["{dense}", "--tasks", "reviews_en", "--limit", "0"], "1 row or more"),
    "columns of nothing": (["{dense}", "--columns", "text"], "FIELD=COLUMN"),
    "a folder as cache": (["{dense}", "--cache", "{dense}"], "--cache none"),
    "seed of words": (["{dense}", "--seed", "x"], "invalid int"),
    "weights cut off": (["{dense}", "{cut}"], "damaged or cut off"),
    "no tokenizer": (["{dense}", "{bare}"], "no tokenizer files"),
}


@pytest.fixture(scope="module")
def damaged(pair, tmp_path_factory):
    """Folders with something missing."""
    place = tmp_path_factory.mktemp("damaged")
    for name in ("cut", "bare"):
        shutil.copytree(pair[0], place / name)
    weights = place / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for file in (place / "bare").glob("tokenizer*"):
        file.unlink()
    return {"dense": pair[0], "cut": str(place / "cut"), "bare": str(place / "bare")}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_one_line_exit_2_and_nothing_written(case, damaged, tmp_path, main):
    words, line = BAD_REQUESTS[case]
    command = ["run"] if case != "unknown command" else []
    code, printed, errors = main(*command, *(word.format(**damaged) for word in words), "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert line in errors and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_results_is_refused_before_any_work(report, main):
    _, out = report
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    code, printed, errors = main("run", "/no/such/model", "--out", out)
    assert (code, printed) == (2, "")
    assert "holds results already" in errors and errors.count("\n") == 1
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RequestError, match="is a file"):
            evaluate_models(["embedded"], out=out)


def test_help_lists_every_metric_with_its_summary(main):
    code, printed, _ = main("run", "--help")
    assert code == 0
    for name in registry.names():
        assert registry.summary(name) and f"{name:16s}{registry.summary(name)}" in printed


def test_every_file_in_the_metrics_folder_is_a_metric():
    assert set(registry.names()) >= {"perplexity", "speed", "memory"}
    for name in registry.names():
        metric = registry.find(name)
        assert metric.name == name and metric.measure.__doc__.startswith(registry.summary(name))
    with pytest.raises(RequestError, match="Unknown metric"):
        registry.find("beauty")
