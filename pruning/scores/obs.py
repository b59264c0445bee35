"""OBS: what the layer's output loses when a weight goes and all others make up for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "obs", needs=("gram",), group="layer")
def obs(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """The output error left when the weight goes and the others adapt, W^2 / [H^-1]_jj. For solvers that adapt them.

    `weight` [R, C], `gram` [C, C] -> scores [R, C]. H is the Gram matrix damped by 1e-3 of each diagonal entry (so that
    outlier channels do not decide), inverted once with all weights present; the solver sparsegpt computes its own as
    it goes. Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon" (1992).
    """
    from pruning.numerics.gram import LEAST_DAMPING, normalised

    damped, norms = normalised(statistics["gram"], LEAST_DAMPING)
    return ((weight.double() * norms).square() / damped.inverse_diagonal).float()
