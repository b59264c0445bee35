"""The least squares problem of one projection, which every solver that changes weights works on.

In the weight's dtype, fp32 but for a test of exactness: a caller who has switched TF32 on gets too coarse results.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from pruning.collect.sensitivity import output_sensitivity
from pruning.numerics.gram import Damped, normalised
from pruning.numerics.layer_problem import LayerProblem, Solution


@dataclass(frozen=True)
class LeastSquares:
    """The layer's least squares problem in normalised columns: minimise (V - W) H (V - W)^T, row by row.

    weight: W [R, C]. curvature: H [C, C], `damped` the same in fp64 with its factor. norms: of the columns, fp64 [C].
    rows: fp64 [R, 1], scales the rows by the root of their outputs' sensitivity, so that the errors of different rows
    add up to what they cost the loss; 1 throughout where the method reads no gradients.
    """

    weight: torch.Tensor
    curvature: torch.Tensor
    damped: Damped
    norms: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def of(cls, problem: LayerProblem, damping: float) -> LeastSquares:
        """The problem of one projection, damped by `damping` at least."""
        damped, norms = normalised(problem.statistics["gram"], damping)
        dtype = problem.weight.dtype
        sensitivity = output_sensitivity(problem.statistics)
        # Relative to each other: within a layer nothing else counts, and fp32 has room for it.
        relative = norms.new_ones(len(problem.weight)) if sensitivity is None else sensitivity / sensitivity.mean()
        rows = relative.sqrt()[:, None]
        return cls(
            weight=(problem.weight.double() * norms).mul_(rows).to(dtype),
            curvature=damped.matrix.to(dtype),
            damped=damped,
            norms=norms,
            rows=rows,
        )

    @cached_property
    def inverse_diagonal(self) -> torch.Tensor:
        """The diagonal of H^-1, [C]."""
        return self.damped.inverse_diagonal.to(self.weight.dtype)

    def pull(self, weight: torch.Tensor, fitted: torch.Tensor) -> torch.Tensor:
        """(W - V) H [r, C] of `fitted` against `weight`, both [r, C]: minus half the gradient of the damped error."""
        return (weight - fitted) @ self.curvature

    def descend(self, weight: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, steps: int) -> torch.Tensor:
        """Conjugate gradients from `start` over the kept entries of some rows, all [r, C]; no row ends worse."""
        pull = self.pull(weight, start)
        before = errors(weight, start, pull)
        fitted, pull = self.refine(start, pull, keep, steps)
        worse = errors(weight, fitted, pull) > before
        fitted[worse] = start[worse]
        return fitted

    def refine(
        self, start: torch.Tensor, pull: torch.Tensor, keep: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`steps` of conjugate gradients from `start` over the kept entries, and the `pull` that is left, all [r, C].

        One matrix product a step: the pull on all entries, kept or not, is carried along.
        """
        fitted, pull = start.clone(), pull.clone()
        residual = pull * keep
        direction = residual.clone()
        length = residual.square().sum(dim=1, keepdim=True)
        for _ in range(steps):
            image = direction @ self.curvature
            stride = _ratio(length, (direction * image).sum(dim=1, keepdim=True))
            fitted.addcmul_(stride, direction)
            pull.addcmul_(stride, image, value=-1)
            residual = pull * keep
            before, length = length, residual.square().sum(dim=1, keepdim=True)
            direction.mul_(_ratio(length, before)).add_(residual)
        return fitted, pull

    def solution(self, problem: LayerProblem, fitted: torch.Tensor, keep: torch.Tensor) -> Solution:
        """`fitted` [R, C] in the weight's own units: what did not change is the dense weight, bit for bit."""
        change = (fitted - self.weight).double() / torch.where(self.norms > 0, self.norms, torch.inf)
        change /= self.rows
        weight = problem.weight + change.to(problem.weight.dtype)
        return Solution(weight.masked_fill(~keep, 0), keep, self.damped.warnings)


def errors(weight: torch.Tensor, fitted: torch.Tensor, pull: torch.Tensor) -> torch.Tensor:
    """The damped error of every row, [r], of `fitted` against `weight`, both [r, C], given the pull between them."""
    return (weight - fitted).mul_(pull).sum(dim=1)


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """above / below, 0 where a row has converged and there is nothing to divide by."""
    return torch.where(below > 0, above / below, 0)
