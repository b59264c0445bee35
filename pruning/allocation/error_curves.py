"""Error curves: the zeros go where they cost the least output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.anatomy.roles import Projection

POINTS = 20  # sparsities at which the error is measured


def error_curve(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """About what the sparsities 0, 1/20, ... 1 of `weight` [R, C] cost: fp64 [21], on the CPU, in units of the loss.

    ||X D^T||^2 / ||X W^T||^2, the relative error of the output, D being the weights that Wanda drops in each row and
    `gram` [C, C] X^T X; times sum W^2 g^2, the second-order estimate of what it costs to lose the whole projection,
    with the diagonal Fisher information g^2 from `gradient_l2` [R, C]. Solvers come to lower errors than these, in
    much the same proportions.
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
    whole = float((weight * statistics["gradient_l2"]).square().sum(dtype=torch.float64))
    return curve / curve[-1] * whole if curve[-1] > 0 else curve


@register("allocation", "error-curves", needs=("gram", "gradient_l2"), measure=error_curve)
def error_curves(
    projections: Sequence[Projection], sparsity: float, measures: Mapping[str, Tensor]
) -> dict[str, float]:
    """The zeros go where they cost the least: output errors, weighed by what the loss makes of them.

    `measures`: an error curve of each projection. Its lower convex hull is cut into straight pieces, and the pieces
    with the least cost per weight are taken until there are enough (the greedy solution of the Lagrangian, exact
    for convex curves). A projection that costs nothing, since no calibration token reached it, is given `sparsity`.
    Returns the sparsity of each projection, by its name.
    """
    pieces = []  # cost per weight, name, how much sparser, weights
    shares = {}
    missing = 0.0
    for entry in projections:
        curve, size = measures[entry.name].tolist(), entry.rows * entry.columns
        shares[entry.name] = 0.0 if curve[-1] else sparsity
        if curve[-1]:
            missing += sparsity * size
            for (start, low), (end, high) in pairwise(lower_hull(curve)):
                pieces.append(((high - low) / ((end - start) * size), entry.name, end - start, size))
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
