"""Gradual: most zeros come first, when the choice is easy, and fewer and fewer towards the end."""

from pruning.registry import register

STEPS = 5


@register("schedule", "gradual")
def gradual(sparsity: float) -> list[float]:
    """In 5 steps along a cubic curve, most zeros first: a solver's changes have a say in what goes next.

    s (1 - (1 - t/5)^3) for t = 1 ... 5, the last exactly s. Zhu and Gupta, "To prune, or not to prune: exploring the
    efficacy of pruning for model compression" (2017), section 3.
    """
    return [sparsity * (1 - (1 - step / STEPS) ** 3) for step in range(1, STEPS)] + [sparsity]
