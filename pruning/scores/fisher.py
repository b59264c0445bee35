"""Fisher: OBS, with the outputs of a layer weighed by what the loss makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "fisher", needs=("gram", "gradient_l2"), group="layer")
def fisher(weight: Tensor, statistics: Mapping[str, Tensor]) -> Tensor:
    """OBS with the outputs of a layer weighed by the loss: F_i W_ij^2 / [H^-1]_jj. Best with the solver exchange.

    `weight` [R, C], `gram` [C, C], `gradient_l2` [R, C] -> scores [R, C]. F_i is the diagonal Fisher information of
    output i (`pruning.collect.sensitivity`), which solvers that compare rows then weigh their errors by, too: a row whose
    output hardly moves the loss gives its places to those that do.
    """
    from pruning.collect.sensitivity import output_sensitivity
    from pruning.scores.obs import obs

    return (obs(weight, statistics).double() * output_sensitivity(statistics)[:, None]).float()
