"""Intervals: against known quantiles, against the truth by simulation, and in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

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
    assert estimate == (0, None, None, len(values))  # which is no proof that other samples would not differ


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=15), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_median_is_numpys_and_its_interval_lies_within_the_samples_and_repeats(values, seed):
    estimate = statistics.median(values, seed)
    assert estimate.value == np.median(values)
    if len(set(values)) == 1:
        assert estimate.interval is None
    else:
        low, high = estimate.interval
        assert min(values) <= low < high <= max(values) and low <= estimate.value <= high
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
        (None, 0, "spread unknown"),
    ],
)
def test_the_verdict(interval, neutral, words):
    assert statistics.verdict(interval, neutral) == words


def test_two_models_that_never_differ_in_the_samples_are_said_to():
    assert statistics.verdict(None, 1, 1.0) == "no difference seen"
    assert statistics.verdict(None, 1, 1.2) == "spread unknown"


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
        (Measurement("accuracy", 1.0, "", (0.839, 1.0)), "1.000 (0.839 to 1.000)", "1.000 (0.839 to 1.000)"),
        (Measurement("f1", 0.0, "", (0.0, 0.22)), "0.00 (0.00 to 0.22)", "0.00 (0.00 to 0.22)"),
        (Measurement("difference", -0.0, "", (-0.22, 0.22)), "0.00 ± 0.22", "0.00 (-0.22 to 0.22)"),
        (Measurement("difference", 0.1, "", (-0.0004, 0.2)), "0.10 ± 0.10", "0.10 (0.00 to 0.20)"),
        (Measurement("n", 2e-7, "", (1e-7, 3e-7)), "0.00000020 ± 0.00000010", "0.00000020 (0.00000010 to 0.00000030)"),
    ],
)
def test_how_a_measurement_is_shown(measurement, short, long):
    assert str(measurement) == short
    assert measurement.with_interval() == long


# shares, and tests of two models


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=60, deadline=None)
def test_wilson_s_interval_is_scipy_s(trial):
    hits, n = trial
    estimate = statistics.wilson(hits, n)
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert estimate.value == hits / n and estimate.n == n
    assert estimate.interval == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    assert estimate.interval[0] < estimate.interval[1]


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_no_share_of_impossible_counts(hits, n):
    with pytest.raises(ValueError, match="hits of"):
        statistics.wilson(hits, n)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
@settings(max_examples=80, deadline=None)
def test_mcnemar_is_scipy_s_binomial_test_of_the_disagreements(pairs):
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    gained = sum(other and not one for one, other in pairs)
    changed = sum(one != other for one, other in pairs)
    expected = binomtest(gained, changed, 0.5).pvalue if changed else 1.0
    assert statistics.mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert statistics.mcnemar(second, first) == statistics.mcnemar(first, second)


def test_holm_on_the_printed_example():
    # Holm's procedure by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04 raised to the one before it
    corrected = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.2))
@settings(max_examples=80, deadline=None)
def test_holm_rejects_what_stepping_down_rejects(p_values, level):
    corrected = statistics.holm(p_values)
    rejected, left = set(), sorted(range(len(p_values)), key=lambda at: p_values[at])
    while left and p_values[left[0]] * len(left) <= level:
        rejected.add(left.pop(0))
    close = {at for at, p in enumerate(corrected) if abs(p - level) < 1e-12}
    assert {at for at, p in enumerate(corrected) if p <= level} - close == rejected - close
    assert all(p <= one <= 1 for p, one in zip(p_values, corrected, strict=True))


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_smallest_difference_is_shown_with_its_power(power):
    smallest = statistics.smallest_difference(0.3, power)
    assert norm.sf(1.959964 - smallest / 0.3) + norm.cdf(-1.959964 - smallest / 0.3) == pytest.approx(power, abs=1e-3)


# blocks of neighbours


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_block_ratios_scale_and_repeat_and_hold_their_value(values, factor):
    values = np.array(values)
    sizes = 1.0 + np.arange(len(values)) % 3
    found, larger = statistics.block_ratio(values, sizes), statistics.block_ratio(values * factor, sizes)
    assert found == statistics.block_ratio(values, sizes)
    assert found.value == pytest.approx(values.sum() / sizes.sum())
    assert larger.value == pytest.approx(found.value * factor, rel=1e-9, abs=1e-12)
    if len(values) == 1:
        assert found.interval is None
    elif found.interval is None:
        assert np.ptp(values / sizes) == pytest.approx(0, abs=1e-9)
    else:
        assert larger.interval == pytest.approx([end * factor for end in found.interval], rel=1e-6, abs=1e-9)
        assert found.interval[0] <= found.value <= found.interval[1]


def test_few_samples_have_the_t_interval():
    random = np.random.default_rng(5)
    values, sizes = random.normal(3, 1, size=7), random.integers(1, 9, size=7)
    assert statistics.block_ratio(values, sizes) == statistics.ratio_of_sums(values, sizes)


def test_the_standard_error_of_independent_samples_is_the_usual_one():
    random = np.random.default_rng(6)
    errors = []
    for _ in range(200):
        values = random.normal(3, 1, size=60)
        errors.append(statistics.block_ratio(values, np.ones(60)).stderr / statistics.mean(values).stderr)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("count", [5, 40])
def test_the_interval_of_a_skewed_positive_ratio_is_symmetric_in_its_logarithm(count):
    values = np.random.default_rng(7).lognormal(0, 3, size=count)
    found = statistics.block_ratio(values, np.ones(count), logarithmic=True)
    plain = statistics.block_ratio(values, np.ones(count))
    assert found[:2] == plain[:2]
    low, high = found.interval
    assert 0 < low < found.value < high and low * high == pytest.approx(found.value**2)


def test_samples_without_spread_have_none():
    assert statistics.block_ratio(np.full(30, 2.0), np.full(30, 4.0)) == (0.5, None, None, 30)
    assert statistics.block_ratio(np.full(5, 0.3), np.full(5, 0.1)).interval is None
    assert statistics.mean(np.full(20, 0.1)) == (pytest.approx(0.1), None, None, 20)
    assert statistics.ratio_of_sums(np.full(9, 0.3), np.full(9, 0.1)).interval is None
    assert statistics.ratio_of_medians(np.full(9, 0.3), np.full(9, 0.1)).interval is None
    assert statistics.paired_difference(np.full(4, 0.1), np.full(4, 0.4)).interval is None


def test_what_was_not_seen_is_bounded_as_clopper_and_pearson_bound_it():
    for n in (1, 2, 12, 20, 1000):
        exact = binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact")
        assert statistics.unseen_share(n) == pytest.approx(exact.high, rel=1e-9)
    assert statistics.unseen_share(10_000) == pytest.approx(3 / 10_000, rel=0.01)  # the rule of three


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (20, 20)])
def test_a_share_at_its_bound_has_a_standard_error(hits, n):
    found = statistics.wilson(hits, n)
    assert found.stderr == pytest.approx((found.interval[1] - found.interval[0]) / (2 * norm.ppf(0.975)))


def test_the_median_of_mostly_equal_values_has_the_range_of_the_others():
    values = np.array([64.0] * 30 + [3.0, 9.0])
    assert statistics.median(values).interval == (3.0, 64.0)
    rounds = np.array([2.0] * 20 + [4.0])
    assert statistics.ratio_of_medians(rounds, np.full(21, 2.0)).interval == (1.0, 2.0)


def test_one_odd_sample_among_equals_has_a_finite_interval():
    values = np.zeros(12)
    values[3] = 1.0
    low, high = statistics.block_ratio(values, np.ones(12)).interval
    assert low < 1 / 12 < high < 1
