"""Stratified k-fold cross-validation of classifiers on one set of labelled texts, fold by fold on the same splits."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.console.progress import Progress, silent
from models.errors import RequestError

if TYPE_CHECKING:
    from training.loop import TrainingConfig

# Fits on texts [n] and labels [n] and labels other texts [m].
Classifier = Callable[[Sequence[str], np.ndarray, Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Mean:
    """The mean of k folds with its 95 % interval; None where all folds are alike and show no spread."""

    value: float
    interval: tuple[float, float] | None
    n: int


def cross_validate(
    texts: Sequence[str],
    labels: Sequence[int],
    classifiers: Mapping[str, Classifier],
    folds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """The accuracy [folds] of every classifier, each fitted on all folds but the one that it labels.

    A text that occurs twice is used once, so that no test text was trained on. Raises RequestError for fewer than two
    folds, or fewer texts of a label than folds.
    """
    progress = progress or silent
    unique = dict(zip(texts, labels, strict=True))
    texts, truth = list(unique), np.array(list(unique.values()))
    accuracies: dict[str, list[float]] = {name: [] for name in classifiers}
    splits = stratified_folds(truth, folds, seed)
    for number, (train, test) in enumerate(splits):
        for place, (name, classify) in enumerate(classifiers.items()):
            progress((number + place / len(classifiers)) / folds, f"fold {number + 1} of {folds}: {name}")
            found = classify([texts[i] for i in train], truth[train], [texts[i] for i in test])
            accuracies[name].append(float(np.mean(found == truth[test])))
    progress(1.0, f"{folds} folds")
    return {name: np.array(values) for name, values in accuracies.items()}


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (train, test) of each fold, the labels in the same proportions in all."""
    model_selection = _sklearn().model_selection
    smallest = int(np.min(np.unique(labels, return_counts=True)[1])) if len(labels) else 0
    if not 2 <= folds <= smallest:
        raise RequestError(f"{folds} folds need two folds at least and as many texts of every label: give others.")
    splitter = model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(labels)), labels))


def corrected_mean(values: np.ndarray) -> Mean:
    """The mean of k-fold figures with the corrected resampled t interval (Nadeau and Bengio 2003, section 3).

    Folds share most of their training texts, so their figures are not independent: the variance of their mean is
    taken as s^2 (1/k + n_test/n_train), with n_test/n_train = 1/(k - 1), instead of s^2/k.
    """
    from scipy.special import stdtrit

    count = len(values)
    half = float(stdtrit(count - 1, 0.975) * sqrt((1 / count + 1 / (count - 1)) * np.var(values, ddof=1)))
    centre = float(np.mean(values))
    return Mean(centre, (centre - half, centre + half) if half > 1e-12 else None, count)


def bag_of_words(train: Sequence[str], labels: np.ndarray, test: Sequence[str]) -> np.ndarray:
    """The plain baseline: TF-IDF of words and pairs of words, logistic regression."""
    sklearn = _sklearn()
    pipeline = sklearn.pipeline.make_pipeline(
        sklearn.feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        sklearn.linear_model.LogisticRegression(C=10, max_iter=1000),
    )
    return pipeline.fit(train, labels).predict(test)


def language_model(
    pretrained: Path,
    config: TrainingConfig,
    epochs: int,
    augmented: int = 0,
    device: str = "cpu",
) -> Classifier:
    """The pretrained model fine-tuned on each fold's reviews alone; a label is the likelier of the label words.

    `epochs` passes over the reviews as they are, then `augmented` ones over reviews with a few words changed;
    `config.tokens` is set by them.
    """
    from transformers import AutoTokenizer

    from training.finetune import load_pretrained
    from training.loop import train
    from training.packing import encode_example, pack
    from training.sources import Review
    from training.tasks.augmented import changed
    from training.tasks.sentiment import example
    from training.validation import predict_labels

    tokenizer = AutoTokenizer.from_pretrained(pretrained)

    def classify(texts: Sequence[str], labels: np.ndarray, others: Sequence[str]) -> np.ndarray:
        generator = random.Random(config.seed)
        reviews = [Review(text, int(label)) for text, label in zip(texts, labels, strict=True)]
        seen = [review for _ in range(epochs) for review in reviews]
        seen += [review for _ in range(augmented) for review in changed(reviews, generator)]
        generator.shuffle(seen)
        encoded = (encode_example(example(review), tokenizer) for review in seen)
        windows = list(pack(encoded, config.length, tokenizer.pad_token_id))
        steps = max(len(windows) // config.step_windows, 1)
        model = load_pretrained(pretrained, device)
        train(model, cycle(windows), replace(config, tokens=steps * config.step_tokens))
        return predict_labels(model, tokenizer, others, config.length)

    return classify


def _sklearn():
    try:
        import sklearn.feature_extraction.text
        import sklearn.linear_model
        import sklearn.model_selection
        import sklearn.pipeline
    except ImportError:
        raise RequestError("Cross-validation needs scikit-learn: pip install -r requirements-training.txt.") from None
    return sklearn
