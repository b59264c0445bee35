"""Mask and weights found together: alternating directions between the dense optimum and the pattern."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pruning.least_squares import LeastSquares
from pruning.matmul import coarse_matmul

FIRST_PENALTY, GROWTH = 0.1, 1.4  # in normalised columns, whose mean curvature is 1
ROUNDS, ROUNDS_PER_UPDATE = 60, 4

Support = Callable[[torch.Tensor], torch.Tensor]  # the mask [R, C] for weights [R, C] in the layer's coordinates


def alternate(layer: LeastSquares, keep: torch.Tensor, support: Support) -> torch.Tensor:
    """The mask [R, C] that alternating directions settle on, from the mask `keep` [R, C]; `support` knows the pattern.

    ADMM: V is the least squares solution tied to D by the penalty, D the nearest matrix to V that has the pattern, U
    the running difference; the penalty grows by a fixed schedule, so that the cost is known: one matrix product a round
    and one inverse every fourth. What is sought is a mask, and its weights are fitted afterwards in fp32: so the
    products may be coarse. After Boyd et al. (2011), section 9.1, and ALPS (Meng et al., 2024), whose penalty adapts.
    """
    pull, penalty = layer.weight @ layer.curvature, FIRST_PENALTY
    projected, dual = layer.weight * keep, torch.zeros_like(layer.weight)
    for done in range(ROUNDS):
        if done % ROUNDS_PER_UPDATE == 0:
            penalty *= GROWTH if done else 1.0
            inverse = _inverse(layer.curvature, penalty)
        with coarse_matmul():
            fitted = (pull - dual + penalty * projected) @ inverse
        target = fitted + dual / penalty
        keep = support(target)
        projected = target * keep
        dual += penalty * (fitted - projected)
    return keep


def _inverse(curvature: torch.Tensor, penalty: float) -> torch.Tensor:
    """(H + penalty I)^-1 [C, C]: in H's own precision, since the penalty keeps it far from singular."""
    shifted = curvature.clone()
    shifted.diagonal().add_(penalty)
    return torch.cholesky_inverse(torch.linalg.cholesky(shifted))
