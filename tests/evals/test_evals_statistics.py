"""Intervals: against known quantiles, against the truth by simulation, and in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import statistics
from evals.measurement import Measurement

MIB = 1 << 20


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (5, 2.57058), (12, 2.17881), (30, 2.04227), (20_000, 1.95996)]
)
def test_intervals_are_student_s_of_the_printed_tables(freedom, quantile):
    low, high = statistics.around(5.0, stderr=2.0, n=freedom + 1).interval
    assert (high - 5.0, 5.0 - low) == pytest.approx((2 * quantile, 2 * quantile), rel=1e-4)


def _autocorrelated_windows(random, sets, windows, length):
    # Token losses that hang together within a text and are skewed, as real ones are; their true mean is 1.
    noise = random.exponential(size=(sets, windows * length))
    smooth = np.apply_along_axis(lambda row: np.convolve(row, np.full(5, 0.2), mode="same"), 1, noise)
    return smooth.reshape(sets, windows, length).mean(axis=2)


def test_the_mean_interval_covers_the_truth_on_dependent_tokens():
    sets = _autocorrelated_windows(np.random.default_rng(1), 600, 12, 64)
    intervals = [statistics.mean(windows).interval for windows in sets]
    assert 0.93 <= np.mean([low <= 1.0 <= high for low, high in intervals]) <= 0.97


def test_the_ratio_interval_covers_the_truth():
    random = np.random.default_rng(2)
    covered = []
    for _ in range(600):
        sizes = random.integers(50, 150, size=15)
        covered.append(statistics.ratio_of_sums(3 * sizes + random.normal(0, 20, size=15), sizes).interval)
    assert 0.93 <= np.mean([low <= 3 <= high for low, high in covered]) <= 0.97


def test_the_ratio_of_medians_covers_the_truth_and_cancels_a_common_drift():
    random = np.random.default_rng(3)
    covered, widths = [], []
    for _ in range(200):
        drift = np.linspace(1, 2, 15)
        first = 3.0 * drift * random.lognormal(0, 0.02, size=15)
        second = 2.0 * drift * random.lognormal(0, 0.02, size=15)
        low, high = statistics.ratio_of_medians(first, second).interval
        covered.append(low <= 1.5 <= high)
        widths.append(high - low)
    assert np.mean(covered) >= 0.93
    assert np.median(widths) < 0.15  # the drift alone, unpaired, would make it about 1


def test_pairing_narrows_the_interval_of_a_difference():
    random = np.random.default_rng(4)
    shared = random.normal(3, 1, size=20)
    first, second = shared + random.normal(0, 0.01, size=20), shared + 0.1 + random.normal(0, 0.01, size=20)
    low, high = statistics.paired_difference(first, second).interval
    assert 0.08 < low < 0.1 < high < 0.12


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_difference_with_itself_is_exactly_nothing(values):
    estimate = statistics.paired_difference(np.array(values), np.array(values))
    assert estimate.value == 0
    assert estimate.interval == (0, 0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=15), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_median_is_numpys_and_its_interval_lies_within_the_samples_and_repeats(values, seed):
    estimate = statistics.median(values, seed)
    assert estimate.value == np.median(values)
    if len(values) == 1:
        assert estimate.interval is None
    else:
        low, high = estimate.interval
        assert min(values) <= low <= high <= max(values)
        assert statistics.median(values, seed) == estimate


def test_one_sample_shows_no_spread():
    for estimate in (statistics.mean([2.0]), statistics.ratio_of_sums([4.0], [2.0]), statistics.median([2.0])):
        assert estimate == (2.0, None, None, 1)


@pytest.mark.parametrize(
    ("interval", "neutral", "words"),
    [
        ((0.9, 1.1), 1, "within noise"),
        ((1.1, 1.2), 1, "higher"),
        ((-2, -1), 0, "lower"),
        ((0, 0), 0, "no difference"),
        (None, 0, "spread unknown"),
    ],
)
def test_the_verdict(interval, neutral, words):
    assert statistics.verdict(interval, neutral) == words


@pytest.mark.parametrize(
    ("measurement", "short", "long"),
    [
        (Measurement("perplexity", 12.34, "", (11.93, 12.75)), "12.34 ± 0.41", "12.34 (11.93 to 12.75)"),
        (Measurement("perplexity", 4249.3, "", (4200, 4310)), "4249 ± 55", "4249 (4200 to 4310)"),
        (Measurement("ttft", 0.0221, "s", (0.0210, 0.0234)), "22.1 ± 1.2 ms", "22.1 ms (21.0 to 23.4)"),
        (Measurement("decode_rate", 41.02, "tokens/s"), "41.02 tokens/s", "41.02 tokens/s"),
        (Measurement("bytes", 34.6 * 2**20, "bytes"), "34.6 MiB", "34.6 MiB"),
        (Measurement("peak", 4 * MIB, "bytes", (3 * MIB, 5 * MIB)), "4.0 ± 1.0 MiB", "4.0 MiB (3.0 to 5.0)"),
        (Measurement("parameters", 17_300_000, "count"), "17.3 M", "17.3 M"),
    ],
)
def test_how_a_measurement_is_shown(measurement, short, long):
    assert str(measurement) == short
    assert measurement.with_interval() == long
