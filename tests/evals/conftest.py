"""Shared by the tests of stored results: small documents, made here."""

import sys

import pytest

from evals import __main__ as command_line
from evals.measurement import Measurement
from evals.runs.results import PairedTest, Result

SPARSITIES = (0.3, 0.5)
SPEED = {"name": "interleaved", "batch": 1, "prompt_tokens": 16, "new_tokens": 8, "device": "cpu", "threads": 2}


@pytest.fixture(scope="session")
def study():
    """A factory of results documents with all that a report can show: a dense model and its pruned versions.

    `methods` are pruned to SPARSITIES; `length`, `text`, `dtype`, `task` and `cpu` are what a protocol can differ in.
    """
    return make_study


@pytest.fixture(scope="session")
def evaluate_offline(tmp_path_factory):
    """The library evaluate, asking no network and with its files in a folder of the session's own.

    One folder for all tests: once a module of its was imported, Python looks for the next in the same place.
    """
    evaluate = pytest.importorskip("evaluate")
    folder = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder / "modules"))
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        yield evaluate


def make_study(
    methods=("wanda", "magnitude"), dense="dense", length=512, text="aaaa", dtype="float32", task="bbbb",
    cpu="Some CPU", groups=("perplexity", "tasks", "speed", "memory", "growth"), revision="sha256:1", vocabulary=320,
    tokens="cccc", protocol="gptq",
):  # fmt: skip
    perplexity = {"name": protocol, "text": "prose", "text_sha256": text, "length": length, "tokens_sha256": tokens}
    place = {"perplexity": perplexity | {"dtype": dtype}, "speed": SPEED | {"dtype": dtype}, "task_sha256": task}
    models, results = [_model(dense, 1000, dtype, revision, vocabulary, None)], _of_model(dense, None, 0.0, 1.0, place)
    for number, method in enumerate(methods):
        for sparsity in SPARSITIES:
            name = f"{method}-{round(100 * sparsity)}"
            recipe = {"method": method, "sparsity": sparsity, "pattern": "unstructured", "solver": "none"}
            left = round(1000 * (1 - 0.8 * sparsity))
            models.append(_model(name, left, dtype, revision, vocabulary, recipe))
            results += _of_model(name, dense, sparsity, 1 + sparsity * (number + 1), place)
    return {
        "schema_version": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "command": f"python -m evals run {' '.join(model['id'] for model in models)}",
        "environment": {
            "cpu": cpu, "gpu": None, "threads": 2, "load_average": 0.5, "python": "3.11.7",
            "libraries": {"torch": "2.8", "transformers": "5.1"},
        },
        "settings": {"quick": False, "seed": 0, "limit": None},
        "models": models,
        "results": [result.as_dict() for result in results if result.group in groups],
        "notes": [],
    }  # fmt: skip


def _model(name, nonzero, dtype, revision, vocabulary, recipe):
    return {
        "id": name, "revision": revision, "family": "llama", "dtype": dtype, "device": "cpu", "vocabulary": vocabulary,
        "parameters": 1000, "nonzero_parameters": nonzero, "bytes_in_memory": 4000,
        "bytes_if_packed": 4 * nonzero + 125 if nonzero < 1000 else 4000, "bytes_on_disk": 4000, "pruning": recipe,
    }  # fmt: skip


def _of_model(name, baseline, sparsity, worse, place):
    found = [
        Result(name, "perplexity", _measured("perplexity", 20 * worse, "", place["perplexity"], 12)),
        Result(name, "perplexity", _measured("bits_per_byte", 1.5 * worse, "bits/byte", place["perplexity"], 12)),
        Result(name, "speed", _measured("decode_rate", 100 * worse, "tokens/s", place["speed"], 10)),
        Result(name, "speed", _measured("ttft", 0.01 / worse, "s", place["speed"] | {"details": _details(worse)}, 10)),
        Result(name, "memory", Measurement("bytes_on_disk", 4000, "bytes", protocol={"name": "exact"})),
    ]
    swept = {"name": "sweep", "x": "prompt tokens", "y": "seconds to the first token", "threads": 2, "dtype": "float32"}
    points = [{"x": x, "y": worse * 1e-4 * x**1.5, "interval": [1e-5, 1.0], "runs": 5} for x in (16, 32, 64, 128)]
    exponent = Measurement("prefill_exponent", 1.5, "", (1.4, 1.6), 0.02, 4, swept | {"details": {"points": points}})
    found.append(Result(name, "growth", exponent))
    for task, metric in (("sst2", "accuracy"), ("squad", "exact_match")):
        told = {"name": "qa", "task": task, "task_sha256": place["task_sha256"], "rows": 50}
        found.append(Result(name, "tasks", _measured(metric, 0.9 - sparsity / 3, "", told, 50)))
        if baseline:
            difference = _measured(f"{metric}_difference", -sparsity / 3, "", told, 50)
            test = PairedTest("McNemar, exact", 0.002, 0.04, 0.004 if task == "sst2" else 0.2)
            found.append(Result(name, "tasks", difference, baseline, test))
    if baseline:
        ratio = Measurement("decode_speedup", 1.01, "times", (0.97, 1.05), 0.02, 10, place["speed"])
        found.append(Result(name, "speed", ratio, baseline))
    return found


def _measured(metric, value, unit, protocol, n):
    half = abs(value) * 0.1
    return Measurement(metric, value, unit, (value - half, value + half), half / 2, n, protocol)


def _details(worse):
    times = [0.01 * step / worse for step in range(1, 11)]
    return {"ttft_seconds": times, "tpot_seconds": times, "itl_seconds_by_percent": times}


@pytest.fixture
def main(monkeypatch, capfd):
    """Runs the command line in this process: `main(*words) -> (exit code, stdout, stderr)`, of every library too."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["evals", *map(str, words)])
        try:
            code = command_line.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capfd.readouterr()

    return run
