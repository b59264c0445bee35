"""No solver: the surviving weights stay as they are."""

from pruning.gram import LEAST_DAMPING, damp, normalise
from pruning.problem import Problem, Solution
from pruning.registry import find, register


@register("solver", "none")
def keep_as_they_are(problem: Problem) -> Solution:
    """The weights that stay keep their values, bit for bit."""
    keep = problem.target.keep(problem.scores)
    warnings = ()
    if problem.method and "gram" in find("method", problem.method).needs:
        # Scores are a tensor and nothing else: that they come from a singular matrix has to be found again here.
        warnings = damp(normalise(problem.statistics["gram"])[0], LEAST_DAMPING).warnings
    return Solution(problem.weight.masked_fill(~keep, 0), keep, warnings)
