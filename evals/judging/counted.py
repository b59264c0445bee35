"""Means over those samples that count: a sample gives `[value, 1]`, or `[0, 0]` where it is left out."""

import numpy as np


def counted(value: float) -> list[float]:
    """The statistics of a sample that counts."""
    return [float(value), 1.0]


def left_out() -> list[float]:
    """The statistics of a sample that does not."""
    return [0.0, 0.0]


def mean_of_counted(sums: np.ndarray) -> np.ndarray:
    """The mean [...] of sums [..., 2] over the samples that count; 0 where none does."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)
