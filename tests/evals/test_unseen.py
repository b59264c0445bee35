"""Figures whose samples are all alike: intervals that have a width, against the exact ones of scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from evals.judging import calibration, choices, classification, repetition, translation
from evals.metrics import entities, generation, last_word, qa
from evals.statistics.figures import Figure, compare, estimate, ratio_of_sums
from evals.statistics.unseen import parts_within
from evals.task import Task

MEAN = Figure("mean")
CLASSES = classification.figures(["no", "yes"])


def exact(n):
    """The bound of Clopper and Pearson on how many are otherwise, none of n being so."""
    return binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact").high


def cells(true, given):
    return np.eye(4)[2 * np.array(true) + np.array(given)]


HALVES = [0, 1] * 10


def figure_of(name):
    return next(figure for figure in CLASSES if figure.name == name)


@pytest.mark.parametrize("figure", CLASSES, ids=lambda figure: figure.name)
def test_all_right_of_twenty_is_no_certainty(figure):
    right = cells(HALVES, HALVES)
    found = estimate(figure, right)
    assert found.value == 1 and found.interval[1] == 1 and found.stderr > 0
    assert 1 - 4 * exact(20) < found.interval[0] <= 1 - exact(20) / 2
    for second in (right, cells(HALVES, [1 - each for each in HALVES])):
        compared = compare(figure, right, second)
        low, high = compared.difference.interval
        assert low < compared.difference.value + 1e-12 and high > low and compared.smallest > 0


def test_one_class_s_recall_is_bounded_by_how_many_there_are_of_it():
    # Ten of each; all of `yes` right, one of `no` wrong: the figure of `yes` has no spread, though the samples have.
    found = estimate(figure_of("recall[yes]"), cells(HALVES, [1, *HALVES[1:]]))
    assert found.value == 1 and found.interval[1] == 1
    assert found.interval[0] == pytest.approx(1 - exact(10), abs=0.03)


def test_nothing_is_known_of_a_class_that_never_came():
    assert estimate(figure_of("recall[yes]"), cells([0] * 20, [0] * 20)).interval == (0, 1)


def test_opposite_answers_differ_surely_and_by_an_amount_that_is_not_sure():
    compared = compare(figure_of("mcc"), cells(HALVES, HALVES), cells(HALVES, [1 - each for each in HALVES]))
    low, high = compared.difference.interval
    assert compared.difference.value == -2 == low and -2 < high < -1 and compared.p < 0.001


@pytest.mark.parametrize("n", [3, 5])
def test_few_pairs_that_are_all_alike_prove_nothing(n):
    share = Figure("share", ratio_of_sums, others=parts_within(0, 1))
    right, wrong = (np.array([[hits, 3.0]] * n) for hits in (3.0, 0.0))
    compared = compare(share, right, wrong)
    assert compared.difference.value == -1 and compared.difference.interval[1] > -0.2
    assert compared.p == pytest.approx(binomtest(0, n).pvalue) and compared.p > 0.05


@pytest.mark.parametrize("n", [2, 12, 300])
@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_models_that_never_disagree_may_disagree_as_often_as_the_exact_bound(n, hit):
    same = np.full((n, 1), hit)
    compared = compare(MEAN, same, same)
    assert compared.difference.value == 0 and compared.p == 1
    assert compared.difference.interval == pytest.approx((-exact(n), exact(n)))
    assert compared.smallest > 0
    clusters = np.stack([same[:, 0] * 3, np.full(n, 3.0)], axis=1)
    shared = compare(Figure("share", ratio_of_sums, others=parts_within(0, 1)), clusters, clusters)
    assert shared.difference.interval == pytest.approx((-exact(n), exact(n))) and shared.smallest > 0


def test_twelve_questions_show_a_difference_to_a_fifth():
    same = np.zeros((12, 1))
    assert compare(MEAN, same, same).difference.interval == pytest.approx((-0.22, 0.22), abs=0.005)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_mean_of_equal_scores_reaches_to_what_scores_can_be(value):
    found, share = estimate(MEAN, np.full((20, 1), value)), exact(20)
    if value == 0.5:
        assert found.interval == pytest.approx((0.5 - share / 2, 0.5 + share / 2))
    assert found.interval[0] < found.interval[1] and found.interval[0] <= value <= found.interval[1]
    compared = compare(MEAN, np.full((20, 1), value), np.full((20, 1), value))
    assert compared.difference.interval == pytest.approx((-share, share)) and compared.smallest > 0


def test_the_bounds_of_a_brier_score_are_its_own():
    (brier,) = [figure for figure in choices.figures(two_classes()) if figure.name == "brier"]
    assert estimate(brier, np.zeros((20, 1))).interval[0] == 0
    assert estimate(brier, np.full((20, 1), 1.5)).interval == pytest.approx(
        (1.5 * (1 - exact(20)), 1.5 + 0.5 * exact(20))
    )


def test_what_nothing_bounds_has_no_interval_and_shows_no_difference():
    length = generation.figures(None)[-1]
    words = np.full((20, 1), 96.0)
    assert length.name == "length" and estimate(length, words) == (96.0, None, None, 20)
    compared = compare(length, words, words)
    assert (compared.difference.interval, compared.smallest, compared.p) == (None, None, 1.0)
    nats = np.stack([np.full(20, 3.0), np.ones(20)], axis=1)
    perplexity = last_word.figures(None)[1]
    assert estimate(perplexity, nats).interval is None


def two_classes():
    return Task("t", "", "classification", {}, "", options={"label": "l", "choices": {"a": " x", "b": " yy"}})


def no_answers():
    return Task("t", "", "qa", {}, "", options={"no_answer": "none", "max_new_tokens": 1})


def constant_samples():
    """By name: a figure, and the statistics of a sample that stands for all twenty."""
    sure = calibration.confidence_bins([0.9, 0.1], 0)
    words = "one two three four".split()
    sentence = (("one two three four five", ["one two three four five"]), ("", ["one two three four five"]))
    found = {
        "ece": (choices.figures(two_classes())[-2], sure),
        **{f"entities {each.name}": (each, [2.0, 0.0, 0.0]) for each in entities.figures(None)},
        **{f"no entities {each.name}": (each, [0.0, 0.0, 0.0]) for each in entities.figures(None)},
        **{each.name: (each, [1.0, 1.0]) for each in qa.figures(no_answers())[2:]},
        **{f"left out {each.name}": (each, [0.0, 0.0]) for each in qa.figures(no_answers())[2:]},
        **{
            each.name: (each, [float(value) for value in repetition.distinct(words, 1)])
            for each in generation.figures(None)[:-2]
        },
        "repetition_rate": (generation.figures(None)[-2], repetition.repetition(words)),
    }
    for name, (written, wanted) in zip(("right", "empty"), sentence, strict=True):
        found[f"bleu {name}"] = (translation.BLEU, translation.bleu_statistics(written, wanted, "en"))
        found[f"chrf {name}"] = (translation.CHRF, translation.chrf_statistics(written, wanted))
    return found


@pytest.mark.parametrize("name", constant_samples())
def test_no_figure_has_an_interval_without_a_width(name):
    figure, sample = constant_samples()[name]
    samples = np.array([sample] * 20)
    found = estimate(figure, samples)
    low, high = found.interval
    assert low <= found.value <= high and high - low > 0.01 and found.stderr > 0
    compared = compare(figure, samples, samples)
    low, high = compared.difference.interval
    assert low < 0 < high and compared.difference.value == 0 and compared.smallest > 0 and compared.p == 1


def test_samples_that_are_not_alike_are_left_to_the_bootstrap():
    random = np.random.default_rng(0)
    true = random.integers(0, 2, 200)
    given = np.where(random.random(200) < 0.8, true, 1 - true)
    found = estimate(figure_of("macro_f1"), cells(true, given))
    assert found.interval[1] - found.interval[0] < 0.15
