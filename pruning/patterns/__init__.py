"""Where the zeros may lie: one file a pattern, a class with

* `parse(text) -> pattern | None`: the pattern a person wrote, None if it is another one; RequestError if it is this
  one written wrongly;
* `implied_sparsity`: the fraction of zeros it fixes, or None;
* `across_layers`: whether the scores of all projections are compared, which decides each one's share;
* `permuted`: whether input channels are first put into an order that suits it, where they are free to move;
* `misfit(rows, columns) -> str | None`: why it cannot lie on a projection of that shape;
* `unit(rows, group) -> int`: how many weights go together, the step of `dropped` (where no sparsity is implied);
* `dropped(rows, columns, sparsity, group) -> int`: how many weights go, exactly;
* `keep(scores, sparsity, group) -> mask`: the mask [R, C], True where the weight stays;
* `rule(rows, columns, sparsity, group) -> str`: the same in words.

`group` is "row" or "layer": within what the scores are compared.
"""

from typing import Any

from pruning import registry


def parse(text: str) -> Any:
    """The pattern that is written so. RequestError if none is."""
    for entry in registry.entries("pattern"):
        if (pattern := entry.implementation.parse(text)) is not None:
            return pattern
    raise registry.unknown("pattern", text)
