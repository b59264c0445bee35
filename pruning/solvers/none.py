"""No solver: the surviving weights stay as they are."""

from pruning.problem import Problem, Solution
from pruning.registry import register


@register("solver", "none")
def keep_as_they_are(problem: Problem) -> Solution:
    """The weights that stay keep their values, bit for bit."""
    keep = problem.target.keep(problem.scores)
    return Solution(problem.weight.masked_fill(~keep, 0), keep)
