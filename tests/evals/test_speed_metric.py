"""The speed metric on processes that only count: its settings, names, notes and what it keeps of the runs."""

import pytest
import torch
from torch import nn

from evals.cost.memory import measure
from evals.cost.process_race import Setting
from evals.cost.timing import RanOutOfMemory, Run
from evals.metrics import speed as metric
from evals.trial import Trial


class FakeProcess:
    """A process that writes a token in `tpot` seconds, `slower` with every prompt more."""

    most_batch = 99

    def __init__(self, model, tpot, slower=0.0):
        self.model, self.tpot, self.slower = model, tpot, slower
        self.facts = {"dtype": "float32", "device": "cpu", "clock": "perf_counter", "threads": 1, "seconds": tpot}
        self.facts["cache"] = "DynamicCache"

    def time(self, batch, prompt_tokens, new_tokens, count_cache):
        if batch > self.most_batch:
            raise RanOutOfMemory(f"{self.model} could not be measured: out of memory.")
        each = self.tpot * (1 + self.slower * (batch - 1))
        return Run([10 * each + each * at for at in range(new_tokens)], prompt_tokens, batch)

    def ask(self, command):
        assert command == "clocks"
        return {"cpu_mhz": 2600}


@pytest.fixture
def timed(monkeypatch):
    """The metric on a dense, a faster and an equal model: `timed(quick) -> (results, notes)`."""
    dense, fast, equal = (FakeProcess(name, tpot) for name, tpot in (("dense", 0.01), ("fast", 0.004), ("equal", 0.01)))
    monkeypatch.setattr(metric, "pairs", lambda *_: iter([[dense, fast], [dense, equal]]))
    monkeypatch.setattr(metric, "load_seconds", lambda name, *_: 0.5)
    halved = nn.Linear(64, 32, bias=False)
    with torch.no_grad():
        halved.weight[:, ::2] = 0

    class ModelPool:
        names, others, baseline, device, dtype = ["dense", "fast", "equal"], ["fast", "equal"], "dense", "cpu", "auto"

        def layouts(self):
            return self.names

        def record(self, name):
            return {"context": 512}

        def hold(self):
            return []

        def footprint(self, name):
            return measure(halved if name == "equal" else nn.Linear(8, 8))

    def run(quick=False, notes=()):
        trial = Trial(ModelPool(), None, quick, 0, lambda *_: None, list(notes))
        return list(metric.speed(trial)), trial.notes

    return run


def values(results, metric):
    return {result.model: result.measurement for result in results if result.measurement.metric == metric}


def test_the_default_setting_has_plain_names_and_the_others_say_theirs(timed):
    results, _ = timed()
    names = {result.measurement.metric for result in results}
    plain = {"ttft", "tpot", "prefill_rate", "decode_rate", "output_rate", "itl_p50", "itl_p99", "ttft_p90"}
    assert plain | {"prefill_speedup", "decode_speedup", "load_time"} <= names
    assert {f"{name}[batch=8,prompt=128]" for name in plain | {"decode_speedup"}} <= names
    assert values(results, "tpot")["dense"].value == pytest.approx(0.01)
    assert values(results, "decode_rate[batch=8,prompt=128]")["dense"].value == pytest.approx(800)
    assert values(results, "tpot[batch=8,prompt=128]")["dense"].protocol["batch"] == 8


def test_ratios_are_to_the_baseline_which_is_told_once(timed):
    results, _ = timed(quick=True)
    assert [result.model for result in results if result.measurement.metric == "ttft"] == ["dense", "fast", "equal"]
    speedups = [result for result in results if result.measurement.metric == "decode_speedup"]
    assert [(result.model, result.baseline) for result in speedups] == [("fast", "dense"), ("equal", "dense")]
    assert [result.measurement.value for result in speedups] == pytest.approx([2.5, 1.0])
    assert speedups[0].measurement.interval is None  # these rounds are all alike


def test_quick_takes_fewer_settings_and_runs(timed):
    results, _ = timed(quick=True)
    assert not any("[" in result.measurement.metric for result in results)
    assert values(results, "ttft")["fast"].n < values(timed()[0], "ttft")["fast"].n


def test_the_runs_are_kept_once_with_vllms_names(timed):
    found = values(timed(quick=True)[0], "ttft")["dense"].protocol
    details = found["details"]
    assert details["vllm"]["mean_ttft_ms"] == pytest.approx(100) and details["vllm"]["p99_itl_ms"] == pytest.approx(10)
    assert len(details["ttft_seconds"]) == found["runs"] == len(details["tpot_seconds"])
    assert len(details["itl_seconds_by_percent"]) == 101 and details["clocks"] == {"cpu_mhz": 2600}
    assert details["warmup_seconds"]["ttft"] == pytest.approx(0.1)
    assert "details" not in values(timed(quick=True)[0], "tpot")["dense"].protocol


def test_load_times_are_medians_of_fresh_processes(timed):
    found = values(timed()[0], "load_time")
    assert found["dense"].value == 0.5 and found["dense"].n == 3 and found["dense"].interval == (0.01, 0.5)
    assert values(timed(quick=True)[0], "load_time")["dense"].n == 1


def test_zeros_that_bring_no_speed_are_told_once(timed):
    _, notes = timed(quick=True)
    (told,) = [note for note in notes if "zeros, stored densely" in note]
    assert told.startswith("equal: 50.0 %")
    assert [note for note in timed(quick=True, notes=[told])[1] if "zeros" in note] == [told]


def test_a_batch_that_does_not_fit_is_left_out_and_noted(timed, monkeypatch):
    monkeypatch.setattr(FakeProcess, "most_batch", 4)
    results, notes = timed()
    assert not any("[" in result.measurement.metric for result in results) and len(values(results, "ttft")) == 3
    assert any("batch 8" in note and "out of memory" in note for note in notes)
    monkeypatch.setattr(FakeProcess, "most_batch", 0)
    with pytest.raises(RanOutOfMemory):
        timed()


@pytest.mark.parametrize("context", [3, 24, 150, 4096])
def test_every_setting_fits_the_context(context):
    found = metric.settings(context, quick=False)
    assert all(setting.prompt_tokens + setting.new_tokens <= context for setting in found)
    assert all(setting.new_tokens >= 2 for setting in found) and found[0].batch == 1
    assert metric.settings(4096, quick=True) == [Setting(1, 128, 64)]
