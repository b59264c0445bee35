"""How far a classifier's probabilities can be believed: expected calibration error and Brier score."""

from collections.abc import Sequence

import numpy as np

BINS = 10
BRIER_BOUNDS = (0.0, 2.0)


def brier(probabilities: Sequence[float], true: int) -> float:
    """The squared distance of the probabilities [K] from the true class, in 0..2 (Brier 1950, equation 2)."""
    return float(sum((p - (at == true)) ** 2 for at, p in enumerate(probabilities)))


def confidence_bins(probabilities: Sequence[float], true: int) -> list[float]:
    """What one example [K] adds to the bins: for each of ten equal bins of the confidence, (count, confidence, hit).

    The confidence is the largest probability; a bin holds its upper end (Guo et al. 2017, section 2).
    """
    confidence = max(probabilities)
    bins = np.zeros((BINS, 3))
    bins[min(max(int(np.ceil(confidence * BINS)) - 1, 0), BINS - 1)] = (
        1,
        confidence,
        probabilities.index(confidence) == true,
    )
    return bins.ravel().tolist()


def expected_calibration_error(sums: np.ndarray) -> np.ndarray:
    """ECE [...] of summed bins [..., 30]: the mean over examples of |accuracy - confidence| of their bin."""
    bins = sums.reshape(*sums.shape[:-1], BINS, 3)
    return np.abs(bins[..., 2] - bins[..., 1]).sum(-1) / bins[..., 0].sum(-1)


def other_bins(sums: np.ndarray, n: int) -> np.ndarray:
    """What the bins' sums [30] may be if all n examples are of another kind: of one bin, all right or wrong [20, 30]."""
    kinds = np.zeros((2 * BINS, BINS, 3))
    for kind in range(2 * BINS):
        at, hit = divmod(kind, 2)
        kinds[kind, at] = (n, n * (at + 1) / BINS, n * hit)
    return kinds.reshape(2 * BINS, -1)
