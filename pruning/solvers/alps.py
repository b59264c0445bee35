"""ALPS: alternating directions between the dense optimum and the pattern, then a refit."""

from __future__ import annotations

import torch

from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.least_squares import LeastSquares
from pruning.registry import register

DAMPING = 0.01
FIRST_PENALTY, LAST_PENALTY = 0.1, 1e6
ROUNDS, ROUNDS_PER_UPDATE = 300, 3
LARGE, SLIGHT = 0.1, 0.005  # changes of the support, as shares of it
EARLY_ROUNDS, SETTLED_SHARE = 30, 3e-4  # after so many rounds a support that changes by less is taken as final
REFIT_STEPS = 10


@register("solver", "alps", needs=("gram",), methods=("wanda",), chooses=("wanda",))
def alps(problem: LayerProblem) -> Solution:
    """ADMM on mask and weights at once, its penalty growing, then a refit; scores as Wanda, on the weights it has.

    In normalised columns, with H damped by 0.01: V is the least squares solution tied to D by the penalty, D the
    nearest matrix to V that has the pattern (so by |D|, which is Wanda's score), U the running difference. Every third
    round the penalty grows the faster the more the support still changes; at the end 10 steps of conjugate gradients.
    Meng et al., "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models" (2024),
    sections 3.2, 3.3 and appendix B.
    """
    layer = LeastSquares.of(problem, DAMPING)
    keep, fitted = _alternate(layer, problem)
    return layer.solution(problem, layer.descend(layer.weight, fitted, keep, REFIT_STEPS), keep)


def _alternate(layer: LeastSquares, problem: LayerProblem) -> tuple[torch.Tensor, torch.Tensor]:
    """The support that the alternation settles on, and its last weights on it, [R, C] each."""
    values, vectors = (part.to(layer.weight.dtype) for part in torch.linalg.eigh(layer.curvature.double()))
    gone = problem.scores == -torch.inf

    def support(weight: torch.Tensor) -> torch.Tensor:
        # What is zero in the dense model goes first, but not like what went: a whole block need not go with it.
        return problem.keep((weight * problem.alive).square().masked_fill(gone, -torch.inf))

    pull = layer.weight @ layer.curvature
    first = layer.weight * support(layer.weight)
    projected, dual = first, torch.zeros_like(first)
    before = first != 0
    kept = max(problem.weight.numel() - problem.target.dropped(*problem.weight.shape), 1)
    penalty, grew = FIRST_PENALTY, False
    for done in range(1, ROUNDS + 1):
        fitted = (((pull - dual + penalty * projected) @ vectors) / (values + penalty)) @ vectors.t()
        target = fitted + dual / penalty
        projected = target * support(target)
        dual = dual + penalty * (fitted - projected)
        if done % ROUNDS_PER_UPDATE:
            continue
        now = projected != 0
        changed = int((now ^ before).sum())
        before = now
        if not changed and grew:
            break
        if changed <= SLIGHT * kept and not grew:  # too stiff to begin with
            penalty /= 5
            if changed:
                projected, dual = first, torch.zeros_like(first)
        else:
            grew = True
            penalty = min(penalty * _growth(changed / kept), LAST_PENALTY)
        if done > EARLY_ROUNDS and changed < SETTLED_SHARE * kept:
            break
    keep = support(fitted)
    return keep, fitted * keep


def _growth(change: float) -> float:
    """The factor of the penalty when this share of the support has changed."""
    if change > LARGE:
        return 1.3
    return 1.2 if change > SLIGHT else 1.1
