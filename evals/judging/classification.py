"""How good a classifier's answers are: accuracy, precision, recall, F1, MCC, all from one confusion matrix.

A confusion matrix C [K, K] counts the examples of true class i (row) that were given class j (column). Every function
takes [..., K, K], so that the bootstrap computes all its resamples at once. With TP_k = C_kk:

    precision_k = TP_k / sum_i C_ik      recall_k = TP_k / sum_j C_kj      F1_k = 2 TP_k / (sum_i C_ik + sum_j C_kj)

`macro_` is the plain mean over the classes. A quotient whose denominator is 0 is 0, as scikit-learn has it.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from evals.measurement import Measurement
from evals.statistics.figures import Figure, estimate
from evals.statistics.unseen import one_of_each


def confusion_matrix(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The counts [..., K, K] of class numbers [..., n] in 0..K-1; the true class is the row."""
    return counts(_cells(true, predicted, classes), classes)


def counts(cells: np.ndarray, classes: int) -> np.ndarray:
    """The matrices [..., K, K] of examples [..., n] given as their cell, true class * K + predicted class."""
    size = classes * classes
    flat = cells.reshape(-1, cells.shape[-1])
    shifted = flat + size * np.arange(len(flat))[:, None]  # each row counts into cells of its own
    return np.bincount(shifted.ravel(), minlength=size * len(flat)).reshape(*cells.shape[:-1], classes, classes)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """The share of examples [...] on the diagonal."""
    return _ratio(_hits(confusion).sum(-1), confusion.sum((-2, -1)))


def precision(confusion: np.ndarray) -> np.ndarray:
    """By class [..., K]: of the examples given this class, the share that are of it."""
    return _ratio(_hits(confusion), confusion.sum(-2))


def recall(confusion: np.ndarray) -> np.ndarray:
    """By class [..., K]: of the examples of this class, the share that were given it."""
    return _ratio(_hits(confusion), confusion.sum(-1))


def f1(confusion: np.ndarray) -> np.ndarray:
    """By class [..., K]: the harmonic mean of precision and recall."""
    return _ratio(2 * _hits(confusion), confusion.sum(-2) + confusion.sum(-1))


def matthews(confusion: np.ndarray) -> np.ndarray:
    """Matthews' correlation coefficient [...] in -1..1, for any number of classes (Gorodkin 2004, equation 8)."""
    total = confusion.sum((-2, -1)).astype(np.float64)
    given, true = confusion.sum(-2).astype(np.float64), confusion.sum(-1).astype(np.float64)
    covariance = total * _hits(confusion).sum(-1) - (given * true).sum(-1)
    return _ratio(covariance, np.sqrt((total**2 - (given**2).sum(-1)) * (total**2 - (true**2).sum(-1))))


BY_CLASS = {"precision": precision, "recall": recall, "f1": f1}


def figures(labels: Sequence[str]) -> list[Figure]:
    """MCC, the three scores as plain means over the classes and those of each, of sums of cells [K * K]."""
    size = len(labels)
    reduces = {"mcc": partial(_of_cells, matthews, size, ...)}
    for name, measure in BY_CLASS.items():
        reduces[f"macro_{name}"] = partial(_of_cells, partial(_macro, measure), size, ...)
        reduces |= {f"{name}[{label}]": partial(_of_cells, measure, size, at) for at, label in enumerate(labels)}
    return [Figure(name, reduce, others=one_of_each) for name, reduce in reduces.items()]


def classification(true: Sequence[int], predicted: Sequence[int], labels: Sequence[str]) -> list[Measurement]:
    """Accuracy, MCC, macro precision, recall and F1, and the three of each class, named `recall[LABEL]`.

    `true` and `predicted` are numbers of `labels`. Accuracy has Wilson's interval; all others the percentile bootstrap
    over examples. The confusion matrix is in the protocol. Raises ValueError for numbers that are no label's.
    """
    size = len(labels)
    cells = _cells(np.asarray(true), np.asarray(predicted), size)
    protocol = {"labels": list(labels), "confusion": counts(cells, size).tolist()}
    hits = (np.asarray(true) == np.asarray(predicted)).astype(np.float64)
    estimates = {"accuracy": estimate(Figure("accuracy"), hits[:, None])}
    estimates |= {figure.name: estimate(figure, np.eye(size * size)[cells]) for figure in figures(labels)}
    return [
        Measurement(name, found.value, "", found.interval, found.stderr, found.n, protocol)
        for name, found in estimates.items()
    ]


def _of_cells(measure: Callable, size: int, at, sums: np.ndarray) -> np.ndarray:
    """A measure of the confusion matrices in sums [..., K * K], at one class or (`...`) whole."""
    values = measure(sums.reshape(*sums.shape[:-1], size, size))
    return values[..., at] if at is not ... else values


def _macro(measure: Callable, confusion: np.ndarray) -> np.ndarray:
    return measure(confusion).mean(-1)


def _cells(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    for numbers in (true, predicted):
        if numbers.size and not (0 <= numbers.min() and numbers.max() < classes):
            raise ValueError(f"a class number lies outside 0..{classes - 1}")
    return true * classes + predicted


def _hits(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
