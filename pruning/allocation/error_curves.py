"""Error curves: the zeros go where they cost the least output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.roles import Projection

POINTS = 20  # sparsities at which the error is measured


def error_curve(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """The relative output error of `weight` [R, C] at the sparsities 0, 1/20, ... 1: fp64 [21], on the CPU.

    ||X D^T||^2 / ||X W^T||^2, D being the weights that Wanda drops in each row; `gram` [C, C] is X^T X. The weights
    that stay are not changed, so what a solver makes of them is better than this, but in much the same order.
    """
    import torch

    gram = statistics["gram"]
    scores = weight.abs() * gram.diagonal().sqrt()
    ranks = scores.argsort(dim=1).argsort(dim=1)
    columns = weight.shape[1]
    errors = []
    for point in range(POINTS + 1):
        dropped = weight * (ranks < columns * point // POINTS)
        errors.append(((dropped @ gram) * dropped).sum(dtype=torch.float64))
    curve = torch.stack(errors).cpu()
    return curve / curve[-1] if curve[-1] > 0 else curve


@register("allocation", "error-curves", needs=("gram",), measure=error_curve)
def error_curves(
    projections: Sequence[Projection], sparsity: float, measures: Mapping[str, Tensor]
) -> dict[str, float]:
    """The zeros go where they cost the least: the summed relative output error is least for the same total.

    `measures`: an error curve of each projection. Its lower convex hull is cut into straight pieces, and the pieces
    with the least error per weight are taken until there are enough (the greedy solution of the Lagrangian, exact
    for convex curves). Returns the sparsity of each projection, by its name.
    """
    pieces = []  # error per weight, name, how much sparser
    shares = {}
    for entry in projections:
        shares[entry.name] = 0.0
        for (start, low), (end, high) in pairwise(lower_hull(measures[entry.name].tolist())):
            size = entry.rows * entry.columns
            pieces.append(((high - low) / ((end - start) * size), entry.name, end - start, size))
    missing = sparsity * sum(entry.rows * entry.columns for entry in projections)
    for _, name, length, size in sorted(pieces):
        taken = min(length * size, missing)
        shares[name] += taken / size
        missing -= taken
    return shares


def lower_hull(curve: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of the lower convex hull of values at evenly spaced places from 0 to 1."""
    hull: list[tuple[float, float]] = []
    for place, value in enumerate(curve):
        corner = place / (len(curve) - 1), value
        while len(hull) > 1 and _above(hull[-1], hull[-2], corner):
            hull.pop()
        hull.append(corner)
    return hull


def _above(middle: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or above the line from `left` to `right`."""
    return (middle[1] - left[1]) * (right[0] - left[0]) >= (right[1] - left[1]) * (middle[0] - left[0])
