"""Scores of a classifier against scikit-learn, and what must hold of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.judging.classification import accuracy, classification, confusion_matrix, f1, matthews, precision, recall

answers = st.integers(2, 5).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40),
    )
)


@given(answers)
@settings(max_examples=80, deadline=None)
def test_all_scores_equal_scikit_learn_s(answers):
    metrics = pytest.importorskip("sklearn.metrics")
    classes, rows = answers
    true, predicted = np.array(rows).T
    confusion = confusion_matrix(true, predicted, classes)
    known = list(range(classes))
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(true, predicted, labels=known))
    expected = metrics.precision_recall_fscore_support(true, predicted, labels=known, zero_division=0)
    for measure, values in zip((precision, recall, f1), expected, strict=False):
        np.testing.assert_allclose(measure(confusion), values)
    assert accuracy(confusion) == pytest.approx(metrics.accuracy_score(true, predicted))
    assert matthews(confusion) == pytest.approx(metrics.matthews_corrcoef(true, predicted), abs=1e-9)


@given(answers, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_many_at_once_equal_one_by_one_and_the_order_of_examples_is_nothing(answers, seed):
    classes, rows = answers
    true, predicted = np.array(rows).T
    orders = np.stack([np.random.default_rng(seed + at).permutation(len(rows)) for at in range(3)])
    together = confusion_matrix(true[orders], predicted[orders], classes)
    assert together.shape == (3, classes, classes) and (together == together[0]).all()
    for measure in (accuracy, precision, recall, f1, matthews):
        np.testing.assert_array_equal(measure(together)[1], measure(confusion_matrix(true, predicted, classes)))


def test_a_worked_example_with_its_intervals():
    true, predicted = [1] * 60 + [0] * 40, [1] * 50 + [0] * 10 + [1] * 20 + [0] * 20
    found = {measured.metric: measured for measured in classification(true, predicted, ("negative", "positive"))}
    assert found["accuracy"].value == pytest.approx(0.7)
    assert found["precision[positive]"].value == pytest.approx(50 / 70)
    assert found["recall[positive]"].value == pytest.approx(50 / 60)
    assert found["recall[negative]"].value == pytest.approx(0.5)
    assert found["f1[positive]"].value == pytest.approx(100 / 130)
    assert found["macro_recall"].value == pytest.approx((50 / 60 + 0.5) / 2)
    assert found["mcc"].protocol == {"labels": ["negative", "positive"], "confusion": [[20, 20], [10, 50]]}
    for measured in found.values():
        assert measured.interval[0] < measured.value < measured.interval[1] and measured.n == 100
    # The standard error of a recall is that of a share of its 60 examples.
    assert found["recall[positive]"].stderr == pytest.approx((50 / 60 * 10 / 60 / 60) ** 0.5, rel=0.05)


@pytest.mark.parametrize(("true", "predicted"), [([0, 2], [0, 1]), ([0, 1], [-1, 1])])
def test_a_class_that_has_no_label_is_refused(true, predicted):
    with pytest.raises(ValueError, match="outside 0..1"):
        classification(true, predicted, ("no", "yes"))
