"""Speed, memory and growth from end to end: `python -m evals run A B --metrics speed,memory,growth --quick`."""

import os

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals import evaluate_models
from evals.runs.results import read_results
from models.errors import Cancelled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tiny_folder):
    """A dense folder and one whose MLPs are 2:4 sparse."""
    dense = tiny_folder("llama")
    model = AutoModelForCausalLM.from_pretrained(dense)
    with torch.no_grad():
        for layer in model.model.layers:
            for projection in (layer.mlp.up_proj, layer.mlp.gate_proj, layer.mlp.down_proj):
                projection.weight.view(-1, 4)[:, :2] = 0
    pruned = dense.parent / "pruned"
    model.save_pretrained(pruned)
    AutoTokenizer.from_pretrained(dense).save_pretrained(pruned)
    return str(dense), str(pruned)


@pytest.fixture(scope="module")
def report(pair, run_cli, tmp_path_factory):
    """The finished process of a quick run of all costs, and its folder."""
    out = tmp_path_factory.mktemp("costs") / "out"
    words = ("--metrics", "speed,memory,growth", "--quick", "--device", "cpu", "--dtype", "float32")
    return run_cli("evals", "run", *pair, "--out", out, *words, timeout=300), out


def test_the_run_ends_well_and_prints_its_tables(report):
    process, out = report
    assert process.returncode == 0, process.stderr
    for words in ("## Speed", "## Memory", "## Growth", "zeros, stored densely"):
        assert words in process.stdout
    assert "100%" in process.stderr
    assert "vllm" not in process.stdout  # the runs themselves are for results.json


def test_every_number_of_both_models_is_there_with_its_protocol(report, pair):
    document = read_results(report[1])
    found = {(entry["model"], entry["metric"]): entry for entry in document["results"]}
    for name in pair:
        for metric in ("ttft", "tpot", "prefill_rate", "decode_rate", "output_rate", "itl_p50", "itl_p99"):
            low, high = found[name, metric]["interval"]
            assert 0 < low <= found[name, metric]["value"] <= high
            protocol = found[name, metric]["protocol"]
            assert (protocol["batch"], protocol["clock"], protocol["dtype"]) == (1, "perf_counter", "float32")
            assert protocol["definition"] and protocol["runs"] >= 5 and protocol["rounds_measured_again"] >= 0
        for metric in ("load_time", "peak_resident", "process_uss", "bytes_on_disk_compressed", "bytes_if_csr"):
            assert found[name, metric]["value"] > 0
        assert found[name, "kv_cache_bytes_per_token"]["value"] == 2 * 3 * 2 * 8 * 4
        for law in ("prefill", "decode", "cache", "batch", "output"):
            entry = found[name, f"{law}_exponent"]
            points = entry["protocol"]["details"]["points"]
            assert entry["interval"] and entry["n"] == len(points) >= 4
            assert all(point["y"] > 0 for point in points)
        assert found[name, "cache_exponent"]["value"] == pytest.approx(1, abs=1e-6)
    dense, pruned = (found[name, "bytes_if_2_of_4"] for name in pair)
    assert (dense["protocol"]["details"]["fitting"], pruned["protocol"]["details"]["fitting"]) == (0, 9)
    assert pruned["value"] < dense["value"]
    for metric in ("prefill_speedup", "decode_speedup", "prefill_exponent_difference", "output_exponent_difference"):
        assert found[pair[1], metric]["baseline"] == pair[0] and (pair[0], metric) not in found
    assert isinstance(document["environment"]["clocks"], dict)


def test_a_callback_that_raises_ends_the_processes_and_writes_nothing(pair, tmp_path):
    def measuring() -> list:  # a browser of another test may start and end processes of its own meanwhile
        names = psutil.process_iter(["cmdline", "ppid"])
        return [
            each for each in names if each.info["ppid"] == os.getpid() and "evals.cost.runner" in each.info["cmdline"]
        ]

    def cancel(fraction, message):
        if "warm-up" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_models(pair[:1], out=tmp_path / "out", metrics=["growth"], quick=True, device="cpu", progress=cancel)
    assert measuring() == []
    assert not (tmp_path / "out").exists()
