"""One shot: all zeros at once."""

from pruning.registry import register


@register("schedule", "one-shot")
def one_shot(sparsity: float) -> list[float]:
    """All zeros at once."""
    return [sparsity]
