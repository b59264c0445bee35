"""Percentiles against numpy, their intervals, and vLLM's names by its formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.cost.latency import enough_for, pooled_percentiles, vllm_names
from evals.cost.timing import Run

rows = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.floats(1e-4, 10), min_size=width, max_size=width), min_size=1, max_size=6)
)


@settings(max_examples=25, deadline=None)
@given(rows)
def test_percentiles_are_numpys_over_all_runs_together(values):
    found = pooled_percentiles(np.array(values), [50, 90, 99])
    pooled = [value for row in values for value in row]
    for estimate, percentile in zip(found, [50, 90, 99], strict=True):
        assert estimate.value == pytest.approx(np.percentile(pooled, percentile))
        assert estimate.n == len(pooled)
        if len(values) == 1:
            assert estimate.interval is None
        if estimate.interval:
            assert min(pooled) <= estimate.interval[0] <= estimate.interval[1] <= max(pooled)


def test_the_interval_draws_whole_runs():
    # Two kinds of runs, each without any spread of its own: to draw single gaps would know the median far too well.
    alike = np.repeat([[1.0], [2.0]], 5, axis=0) * np.ones((10, 50))
    (estimate,) = pooled_percentiles(alike, [50])
    assert estimate.interval == (1.0, 2.0)
    assert pooled_percentiles(alike, [50]) == pooled_percentiles(alike, [50])


@pytest.mark.parametrize(
    ("percentile", "count", "enough"), [(90, 9, False), (90, 10, True), (99, 99, False), (99, 100, True)]
)
def test_a_percentile_needs_a_value_beyond_it(percentile, count, enough):
    assert enough_for(percentile, count) is enough


def test_vllms_names_hold_what_its_benchmark_would_say():
    runs = [Run([0.1, 0.2, 0.4], 50, batch=2), Run([0.2, 0.3, 0.7], 50, batch=2)]
    found = vllm_names(runs)
    assert found["mean_ttft_ms"] == pytest.approx(150) and found["median_ttft_ms"] == pytest.approx(150)
    assert found["median_tpot_ms"] == pytest.approx(1000 * (0.15 + 0.25) / 2)
    gaps = [100, 200, 100, 400]  # every gap of every request, not a mean of each
    assert found["mean_itl_ms"] == pytest.approx(np.mean(gaps)) and found["std_itl_ms"] == pytest.approx(np.std(gaps))
    assert found["p99_itl_ms"] == pytest.approx(np.percentile(gaps, 99))
    assert found["mean_e2el_ms"] == pytest.approx(550)
    assert found["completed"] == 4
    assert found["output_throughput"] == pytest.approx(12 / 1.1)
    assert found["total_token_throughput"] == pytest.approx((12 + 200) / 1.1)
