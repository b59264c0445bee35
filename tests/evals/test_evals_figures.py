"""Figures of sums over samples: their intervals against plain means, and the paired comparison of two models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.statistics.figures import Figure, compare, estimate

RATIO = Figure("ratio", lambda sums: sums[..., 0] / sums[..., 1])
MEAN = Figure("mean")
hits = st.lists(st.booleans(), min_size=2, max_size=60)


@given(hits)
@settings(max_examples=40, deadline=None)
def test_a_share_has_wilsons_interval(values):
    found = estimate(MEAN, np.array(values, dtype=float)[:, None])
    expected = stats.binomtest(sum(values), len(values)).proportion_ci(method="wilson")
    assert found.value == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_mean_has_students_interval():
    values = np.random.default_rng(0).normal(3, 2, 40)
    found = estimate(MEAN, values[:, None])
    half = stats.t.ppf(0.975, 39) * stats.sem(values)
    assert found.interval == pytest.approx((values.mean() - half, values.mean() + half))


def test_a_figure_of_sums_has_the_bootstraps_interval():
    random = np.random.default_rng(1)
    samples = np.stack([random.poisson(3, 300), random.poisson(9, 300) + 1], axis=1).astype(float)
    found = estimate(RATIO, samples, seed=7)
    drawn = np.random.default_rng(5).integers(0, 300, size=(4000, 300))
    sums = samples[drawn].sum(1)
    assert found.value == samples[:, 0].sum() / samples[:, 1].sum()
    assert found.interval == pytest.approx(np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975]), rel=0.02)
    assert found == estimate(RATIO, samples, seed=7)


def test_what_two_models_share_cancels():
    random = np.random.default_rng(2)
    hard = random.normal(0, 5, 200)
    first, second = (np.stack([hard + random.normal(gain, 0.1, 200), np.ones(200)], axis=1) for gain in (0, 0.2))
    found = compare(RATIO, first, second)
    assert found.difference.value == pytest.approx(0.2, abs=0.03)
    assert found.difference.stderr < estimate(RATIO, first).stderr / 10
    assert found.test == "paired bootstrap" and found.p < 0.001
    assert found.smallest == pytest.approx(2.8 * found.difference.stderr, rel=0.01)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=80))
@settings(max_examples=60, deadline=None)
def test_two_shares_are_tested_by_mcnemar(pairs):
    first, second = (np.array(side, dtype=float)[:, None] for side in zip(*pairs, strict=True))
    found = compare(MEAN, first, second)
    gained, lost = ((second > first).sum(), (second < first).sum())
    expected = stats.binomtest(int(gained), int(gained + lost)).pvalue if gained + lost else 1.0
    assert found.test == "McNemar, exact" and found.p == pytest.approx(expected)
    low, high = found.difference.interval
    assert low < high and low <= second.mean() - first.mean() <= high


def test_two_models_that_never_differ_are_not_certain_to_be_equal():
    same = np.ones((5, 1))
    found = compare(MEAN, same, same)
    assert found.difference.value == 0 and found.p == 1 and found.smallest > 0.3
    assert found.difference.interval[0] < -0.2 and found.difference.interval[1] > 0.2


def test_one_sample_has_no_spread():
    one = np.array([[2.0, 4.0]])
    assert estimate(RATIO, one)[:3] == (0.5, None, None)
    found = compare(RATIO, one, one)
    assert (found.difference.interval, found.p, found.smallest) == (None, None, None)


def test_the_intervals_of_differences_cover_the_truth():
    random, covered = np.random.default_rng(3), 0
    for _ in range(300):
        skill = random.random(120)
        first, second = (np.float64(random.random(120) < skill * share)[:, None] for share in (0.9, 0.8))
        low, high = compare(MEAN, first, second).difference.interval
        covered += low <= -0.05 <= high
    assert 0.92 <= covered / 300 <= 0.98


def test_clusters_widen_the_interval_of_what_they_share():
    from evals.rows.samples import Sample
    from evals.task_run import clustered

    random = np.random.default_rng(4)
    pages = random.random(40) < 0.5  # all of a page is right, or none
    samples = [Sample(at, {"page": at // 8}, "", "", "", {"mean": [float(pages[at // 8])]}) for at in range(320)]
    spans = []
    for field in (None, "page"):
        figure, matrices = clustered(MEAN, {"model": samples}, field)
        low, high = estimate(figure, matrices["model"]).interval
        assert low <= pages.mean() <= high
        spans.append(high - low)
    assert spans[1] > 2 * spans[0]


def test_clusters_that_are_all_wrong_are_no_certainty():
    from evals.statistics.figures import ratio_of_sums

    wrong = np.stack([np.zeros(16), np.full(16, 3.0)], axis=1)
    found = estimate(Figure("share", ratio_of_sums), wrong)
    expected = stats.binomtest(0, 16).proportion_ci(method="wilson")
    assert found.value == 0 and found.interval == pytest.approx((expected.low, expected.high))
