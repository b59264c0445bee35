"""What the loss makes of an error in each output of a projection, told by the gradients of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-6  # of the mean, for an output that no gradient reached: its row is still a problem that can be solved


def output_sensitivity(statistics: Mapping[str, Tensor]) -> Tensor | None:
    """The Fisher information of every output per squared unit of it: fp64 [R]; None without `gradient_l2` [R, C].

    To second order an error e_i of output i costs the loss e_i^2 E[g_i^2] / 2, with g_i its gradient by that output. A
    weight's gradient is g_i x_j, so its square summed over a row, over that of the inputs (the trace of `gram` [C, C]),
    stands for E[g_i^2] (Kronecker-factored curvature: Martens and Grosse 2015, section 3). 1 where nothing is known.
    """
    if "gradient_l2" not in statistics:
        return None
    information = statistics["gradient_l2"].double().square().sum(dim=1)
    mean, inputs = information.mean(), statistics["gram"].diagonal().sum(dtype=information.dtype)
    return (information / inputs).clamp_min_(LEAST * mean / inputs) if mean * inputs > 0 else information.fill_(1.0)
