"""Refit: the weights that stay make up for those that went, by conjugate gradients."""

from pruning.numerics.gram import LEAST_DAMPING
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.least_squares import LeastSquares
from pruning.registry import register

STEPS = 20


@register("solver", "refit", needs=("gram",))
def refit(problem: LayerProblem) -> Solution:
    """Least squares for the weights that stay, by 20 steps of masked conjugate gradients; after any mask.

    Per row it minimises ||X (V - W)^T||^2 over the kept weights, damped by 1e-3 after normalising the columns (which
    is the Jacobi preconditioner); all rows share one matrix product a step. No row ends worse than it began. Meng et
    al., "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for Large Language Models" (2024), section 3.3.
    """
    keep = problem.keep(problem.scores)
    layer = LeastSquares.of(problem, LEAST_DAMPING)
    start = layer.weight * keep
    return layer.solution(problem, layer.descend(layer.weight, start, keep, STEPS), keep)
