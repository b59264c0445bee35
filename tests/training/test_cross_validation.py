"""Cross-validation: the folds, the interval, the two classifiers; and the losses of single examples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.errors import RequestError
from training.cross_validation import bag_of_words, corrected_mean, cross_validate, language_model, stratified_folds
from training.loop import TrainingConfig
from training.packing import encode_example
from training.sources import Review
from training.tasks.sentiment import example
from training.validation import example_losses, predict_labels

TEXTS = [f"{word} thing number {n}" for n in range(15) for word in ("good", "bad")]
LABELS = [1, 0] * 15


@settings(deadline=None)  # the first call imports scikit-learn
@given(
    st.lists(st.integers(0, 1), min_size=12, max_size=60).filter(lambda v: 3 <= sum(v) <= len(v) - 3), st.integers(2, 3)
)
def test_every_text_is_tested_once_in_balanced_folds(labels, folds):
    labels = np.array(labels)
    splits = stratified_folds(labels, folds, seed=0)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(len(labels)))
    for train, test in splits:
        assert not set(train) & set(test) and len(train) + len(test) == len(labels)
        assert abs(labels[test].sum() - labels.sum() / folds) <= 1


def test_folds_give_what_the_classifiers_deserve():
    def memory(train, labels, others):
        known = dict(zip(train, labels, strict=True))
        return np.array([known.get(text, -1) for text in others])

    def word(train, labels, others):
        return np.array([int(text.startswith("good")) for text in others])

    found = cross_validate(TEXTS * 2, LABELS * 2, {"memory": memory, "word": word, "bag": bag_of_words}, folds=3)
    assert found["memory"].tolist() == [0.0] * 3, "a text that occurs twice stood on both sides"
    assert found["word"].tolist() == [1.0] * 3 and found["bag"].tolist() == [1.0] * 3


def test_the_interval_is_nadeau_and_bengio_s():
    values = np.array([0.81, 0.79, 0.84, 0.80, 0.83])
    mean = corrected_mean(values)
    variance = (1 / 5 + (1 / 5) / (4 / 5)) * values.var(ddof=1)
    assert mean.interval == pytest.approx(stats.t.interval(0.95, 4, values.mean(), np.sqrt(variance)))
    naive = stats.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / np.sqrt(5))
    assert mean.interval[0] < naive[0] and mean.interval[1] > naive[1]


@pytest.mark.parametrize(("labels", "folds"), [([0, 1] * 5, 1), ([0, 1] * 5, 6), ([0] * 9 + [1], 2), ([], 2)])
def test_too_many_folds_are_refused(labels, folds):
    with pytest.raises(RequestError, match="folds"):
        stratified_folds(np.array(labels, dtype=int), folds, seed=0)


def test_example_losses_are_those_of_one_at_a_time(tiny_model, tiny_tokenizer):
    model = tiny_model()
    examples = [encode_example(example(Review("very " * n + "good", n % 2)), tiny_tokenizer, 0.5) for n in (1, 9, 4, 0)]
    for (ids, weights), loss in zip(examples, example_losses(model, examples, length=24), strict=True):
        ids, weights = torch.tensor(ids[:25]), torch.tensor(weights[:25])
        scores = model(ids[None, :-1]).logits[0].log_softmax(-1)
        expected = -(scores[range(len(ids) - 1), ids[1:]] * weights[1:]).sum().item()
        assert loss == pytest.approx(expected, rel=1e-4)


def test_a_language_model_learns_the_labels(tiny_folder):
    folder = tiny_folder()
    config = TrainingConfig(tokens=1, length=48, batch=4, learning_rate=1e-2)
    classify = language_model(folder, config, epochs=8, augmented=1)
    found = classify(
        ["fine", "fine fine", "bad", "bad bad"] * 4, np.array([1, 1, 0, 0] * 4), ["fine fine fine", "bad bad bad"]
    )
    assert found.tolist() == [1, 0]


def test_labels_are_the_likelier_words(tiny_model, tiny_tokenizer):
    model = tiny_model()
    texts = ["The branch", "A tree that bears", "cut"]
    losses = [
        [
            example_losses(model, [encode_example(example(Review(text, label)), tiny_tokenizer, 0.0)], 64)[0]
            for label in (0, 1)
        ]
        for text in texts
    ]
    assert predict_labels(model, tiny_tokenizer, texts, 64).tolist() == np.argmin(losses, axis=1).tolist()


def test_folds_that_are_all_alike_are_no_certainty():
    assert corrected_mean(np.ones(5)).interval is None
    assert corrected_mean(np.full(5, 0.7)).interval is None
