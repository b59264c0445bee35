"""Mask and weights found together: alternating directions between the dense optimum and the pattern."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pruning.numerics.least_squares import LeastSquares
from pruning.numerics.matmul import coarse_matmul

FIRST_PENALTY, GROWTH = 0.1, 1.6  # in normalised columns, whose mean curvature is 1
ROUNDS, ROUNDS_PER_UPDATE = 48, 6

Support = Callable[[torch.Tensor], torch.Tensor]  # the mask [R, C] for weights [R, C] in the layer's coordinates


def alternate(layer: LeastSquares, keep: torch.Tensor, support: Support, rough: Support) -> torch.Tensor:
    """The mask [R, C] that alternating directions settle on, from the mask `keep` [R, C].

    `support` knows the pattern exactly, `rough` well enough for all rounds but the last. ADMM: V is the least squares
    solution tied to D by the penalty, D the nearest matrix to V that has the pattern, U the running difference over the
    penalty; that grows by a fixed schedule, so that the cost is known: one matrix product a round and an inverse every
    few. What is sought is a mask, and its weights are fitted afterwards in fp32: so the products may be coarse. After
    Boyd et al. (2011), section 9.1, and ALPS (Meng et al., 2024), whose penalty adapts.
    """
    pull, penalty = layer.weight @ layer.curvature, FIRST_PENALTY
    projected, dual = layer.weight * keep, torch.zeros_like(layer.weight)
    target, given = torch.empty_like(dual), torch.empty_like(dual)
    for done in range(ROUNDS):
        if done % ROUNDS_PER_UPDATE == 0:
            if done:
                penalty *= GROWTH
                dual /= GROWTH
            inverse = _inverse(layer.curvature, penalty)
        torch.sub(projected, dual, out=given)
        torch.add(pull, given, alpha=penalty, out=given)
        with coarse_matmul():
            torch.mm(given, inverse, out=target)
        target += dual
        keep = (rough if done + 1 < ROUNDS else support)(target)
        torch.mul(target, keep.to(target.dtype), out=projected)
        torch.sub(target, projected, out=dual)  # U + V - D: what the mask takes away
    return keep


def _inverse(curvature: torch.Tensor, penalty: float) -> torch.Tensor:
    """(H + penalty I)^-1 [C, C]: in H's own precision, since the penalty keeps it far from singular."""
    shifted = curvature.clone()
    shifted.diagonal().add_(penalty)
    return torch.cholesky_inverse(torch.linalg.cholesky(shifted))
