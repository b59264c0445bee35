"""Exponents on costs that are known, and the sweeps that a context has room for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.cost.growth import LAWS, Point, fit, fit_difference, geometric, point, sweeps
from evals.cost.process_race import Setting
from evals.cost.rounds import Rounds
from evals.cost.timing import RanOutOfMemory, Run
from evals.metrics import growth as metric
from evals.runs.results import Result
from evals.trial import Trial


def points(sizes, costs):
    return [Point(x, y, None, 3) for x, y in zip(sizes, costs, strict=True)]


@settings(max_examples=30, deadline=None)
@given(st.floats(-1, 3), st.floats(1e-6, 1e3))
def test_an_exact_power_is_found_with_no_doubt(exponent, factor):
    sizes = [16, 50, 160, 500]
    found = fit(points(sizes, [factor * size**exponent for size in sizes]))
    assert found.value == pytest.approx(exponent, abs=1e-6)
    assert found.interval == pytest.approx((exponent, exponent), abs=1e-5) and found.n == 4


def test_the_interval_is_students_over_the_points():
    generator = np.random.default_rng(3)
    sizes = np.array([8, 16, 32, 64, 128, 256])
    costs = sizes**1.5 * np.exp(generator.normal(0, 0.1, 6))
    found = fit(points(sizes, costs))
    line = stats.linregress(np.log(sizes), np.log(costs))
    half = stats.t.ppf(0.975, 4) * line.stderr
    assert found.value == pytest.approx(line.slope) and found.stderr == pytest.approx(line.stderr, abs=1e-8)
    assert found.interval == pytest.approx((line.slope - half, line.slope + half), abs=1e-7)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    sizes = np.array([16, 32, 64, 128, 256])
    covered = 0
    for _ in range(400):
        low, high = fit(points(sizes, sizes * np.exp(generator.normal(0, 0.2, 5)))).interval
        covered += low <= 1 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_two_points_have_an_exponent_and_no_interval():
    found = fit(points([10, 100], [1, 100]))
    assert found.value == pytest.approx(2) and found.interval is None


def test_what_both_models_met_at_a_size_cancels_in_their_difference():
    sizes = np.array([16, 64, 256, 1024])
    shared = np.array([1.0, 3.0, 0.5, 1.2])  # a machine that was slow now and then
    found = fit_difference(points(sizes, shared * sizes**1.0), points(sizes, 0.4 * shared * sizes**1.3))
    assert found.value == pytest.approx(0.3) and found.interval == pytest.approx((0.3, 0.3), abs=1e-6)


@given(st.integers(1, 40), st.integers(1, 5000), st.sampled_from([2.0, 4.0]))
def test_geometric_steps_span_their_range_without_long_steps(start, stop, factor):
    found = geometric(start, stop, factor)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (min(start, stop), stop)
    assert all(after <= factor * before + 1 for before, after in zip(found, found[1:], strict=False))


def test_geometric_steps_of_known_ranges():
    assert geometric(1, 32, 2.0) == [1, 2, 4, 8, 16, 32]
    assert len(geometric(16, 120, 4.0)) == 5  # shorter steps than asked for, so that there is a line to fit
    assert geometric(16, 0, 2.0) == []


@pytest.mark.parametrize("context", [32, 128, 2048, 131072])
@pytest.mark.parametrize("quick", [True, False])
def test_every_setting_fits_the_context(context, quick):
    found = sweeps(context, quick)
    assert [sweep.name for sweep in found] == ["context", "batch", "output"]
    for sweep in found:
        assert len(sweep.settings) >= 4
        assert all(setting.prompt_tokens + setting.new_tokens <= context for setting in sweep.settings)
        assert all(min(setting.batch, setting.prompt_tokens) >= 1 < setting.new_tokens for setting in sweep.settings)
    largest = found[0].settings[-1]
    assert largest.prompt_tokens + largest.new_tokens == context


def run_of(setting, cost=lambda setting: (1.0, 0.1), cache=None):
    first, each = cost(setting)
    times = [first + each * at for at in range(setting.new_tokens)]
    return Run(times, setting.prompt_tokens, setting.batch, cache_bytes=cache)


def test_a_point_is_the_median_of_its_runs_and_the_cache_is_that_of_the_warm_up():
    setting = Setting(1, 100, 9)
    rounds = Rounds(
        warmups=[[run_of(setting, cache=700)]],
        kept=[[run_of(setting, lambda _, first=first: (first, 0.5))] for first in (1.0, 5.0, 2.0)],
    )
    prefill, decode, cache = (point(law, rounds, 0) for law in LAWS[:3])
    assert (prefill.x, prefill.y, prefill.runs) == (100, 2.0, 3) and prefill.interval == (1.0, 5.0)
    assert (decode.x, decode.y) == (104.5, pytest.approx(0.5))
    assert (cache.x, cache.y, cache.runs, cache.interval) == (108, 700, 1, None)


class FakeProcess:
    """A process whose generations cost what a formula says."""

    facts = {"dtype": "float32", "device": "cpu", "clock": "perf_counter", "threads": 1}

    def __init__(self, model, power):
        self.model, self.power = model, power

    def time(self, batch, prompt_tokens, new_tokens, count_cache):
        setting = Setting(batch, prompt_tokens, new_tokens)
        if batch > 4:
            raise RanOutOfMemory("no room")
        tokens = prompt_tokens + new_tokens - 1
        return run_of(setting, lambda _: (1e-4 * prompt_tokens**self.power * batch, 1e-3), 10 * tokens * batch)


@pytest.fixture
def measure(monkeypatch):
    """Runs the metric on two fake processes with a context of 1024: `measure(**fields) -> (results, notes)`."""
    racing = [FakeProcess("dense", 1.0), FakeProcess("pruned", 1.5)]
    monkeypatch.setattr(metric, "pairs", lambda *_: iter([racing]))

    class ModelPool:
        names, others, device, dtype = ["dense", "pruned"], ["pruned"], "cpu", "float32"

        def record(self, name):
            return {"context": 1024}

        def hold(self):
            return []

    def run(progress=lambda *_: None):
        trial = Trial(ModelPool(), None, quick=True, seed=0, progress=progress)
        return list(metric.growth(trial)), trial.notes

    return run


def test_the_metric_tells_exponents_points_and_differences(measure):
    results, notes = measure()
    found = {(result.model, result.measurement.metric): result for result in results}
    assert found["dense", "prefill_exponent"].measurement.value == pytest.approx(1.0)
    assert found["pruned", "prefill_exponent"].measurement.value == pytest.approx(1.5)
    assert found["dense", "decode_exponent"].measurement.value == pytest.approx(0.0, abs=1e-6)
    assert found["dense", "cache_exponent"].measurement.value == 1.0
    difference = found["pruned", "prefill_exponent_difference"]
    assert difference.measurement.value == pytest.approx(0.5) and difference.baseline == "dense"
    assert isinstance(difference, Result) and difference.neutral == 0
    assert found["pruned", "cache_exponent_difference"].measurement.interval == (0, 0)
    protocol = found["dense", "prefill_exponent"].measurement.protocol
    told = protocol["details"]["points"]
    assert [each["x"] for each in told][0] == 16 and told[0]["y"] == pytest.approx(16e-4) and told[0]["runs"] >= 3
    assert protocol["batch"] == 1 and protocol["prompt_tokens"].startswith("16 to ")


def test_a_sweep_ends_where_time_or_memory_does_and_says_so(measure):
    results, notes = measure()
    assert any("batch size: ended before batch 8" in note and "memory did not suffice" in note for note in notes)
    assert any("context length: ended before batch 1" in note and "would take about" in note for note in notes)
    batch = next(result for result in results if result.measurement.metric == "batch_exponent")
    assert [each["x"] for each in batch.measurement.protocol["details"]["points"]] == [1, 2, 4]


def test_where_nothing_fits_there_is_a_note_and_no_number(measure, monkeypatch):
    monkeypatch.setattr(FakeProcess, "time", lambda *_, **__: (_ for _ in ()).throw(RanOutOfMemory("no room")))
    results, notes = measure()
    assert results == [] and sum("too few sizes" in note for note in notes) == 3


def test_progress_never_goes_back(measure):
    seen = []
    measure(lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen) and seen[-1] == 1


def test_laws_read_their_sizes_off_a_run():
    run = replace(run_of(Setting(4, 10, 6)), cache_bytes=5)
    sizes = {law.metric: law.size(run) for law in LAWS}
    assert sizes == {
        "prefill_exponent": 10, "decode_exponent": 13, "cache_exponent": 15, "batch_exponent": 4, "output_exponent": 6,
    }  # fmt: skip
