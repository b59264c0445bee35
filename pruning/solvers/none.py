"""No solver: the surviving weights stay as they are."""

from pruning.numerics.gram import LEAST_DAMPING, normalised
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.registry import find, register


@register("solver", "none")
def keep_as_they_are(problem: LayerProblem) -> Solution:
    """The weights that stay keep their values, bit for bit."""
    keep = problem.target.keep(problem.scores)
    warnings = ()
    if problem.method and "gram" in find("method", problem.method).needs:
        # Scores are a tensor and nothing else: that they come from a singular matrix has to be found again here.
        warnings = normalised(problem.statistics["gram"], LEAST_DAMPING)[0].warnings
    return Solution(problem.weight.masked_fill(~keep, 0), keep, warnings)
