"""The Gram matrix G = X^T X of a projection's inputs, made fit for solvers: normalised, damped, factored.

All in fp64 up to the factor: G was summed in fp32 and can be singular, and an inverse doubles its condition number's
share of the digits. Solvers then work in fp32; TF32, where a caller has switched it on, is too coarse for them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property

import torch

from models.errors import EspalierError

# In the normalised matrix, the square of the smallest Cholesky pivot is the share of an input that the inputs before
# it do not explain. Below this share it is noise, and so would be whatever a solver made of it.
SINGULAR_PIVOT = 1e-4
# Measured with as many tokens as inputs or fewer: what a solver then gains on unseen tokens, or loses least.
SINGULAR_DAMPING = 0.1
LEAST_DAMPING = 1e-3  # of the normalised matrix: what keeps rounding out, and little else
LAST_DAMPING = 10.0


@dataclass(frozen=True)
class Damped:
    """G + damping x mean(diag G) x I, fp64 [C, C], its lower Cholesky factor, and what a reader should know."""

    matrix: torch.Tensor
    cholesky: torch.Tensor
    damping: float
    warnings: tuple[str, ...]

    @cached_property
    def inverse_diagonal(self) -> torch.Tensor:
        """The diagonal of the inverse, fp64 [C]."""
        return torch.cholesky_inverse(self.cholesky).diagonal().clone()


class _Last:
    """The last Gram matrix that was normalised and damped: a score, a solver and the next projection ask for the same.

    It is let go together with the matrix.
    """

    gram: weakref.ref | None = None
    key: tuple = ()
    found: tuple[Damped, torch.Tensor] | None = None

    @classmethod
    def clear(cls, gone: weakref.ref | None = None) -> None:
        if gone is cls.gram:
            cls.gram = cls.found = None


def normalised(gram: torch.Tensor, damping: float) -> tuple[Damped, torch.Tensor]:
    """`gram` [C, C] normalised, damped by `damping` at least, and the norms, fp64 [C]. See `normalise` and `damp`."""
    if gram.is_inference():  # which does not tell when it was changed
        matrix, norms = normalise(gram)
        return damp(matrix, damping), norms
    key = (gram._version, damping)
    if _Last.found is None or _Last.gram is None or _Last.gram() is not gram or _Last.key != key:
        _Last.found = None  # before there is another one
        matrix, norms = normalise(gram)
        _Last.found, _Last.key = (damp(matrix, damping), norms), key
        _Last.gram = weakref.ref(gram, _Last.clear)
    return _Last.found


def without_dead(gram: torch.Tensor) -> torch.Tensor:
    """`gram` [C, C] in fp64 with 1 on the diagonal of the channels that were zero on every token."""
    gram = gram.to(torch.float64, copy=True)
    diagonal = gram.diagonal()
    diagonal[diagonal == 0] = 1
    return gram


def normalise(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The unit-diagonal matrix, fp64 [C, C], and the norm n_j of each column, fp64 [C], 0 where the channel is dead.

    For weights W in these coordinates, W x n, no outlier channel decides the damping.
    """
    norms = gram.diagonal().double().sqrt()
    matrix = without_dead(gram)
    scale = matrix.diagonal().sqrt()
    return matrix.div_(scale).div_(scale[:, None]), norms


def damp(gram: torch.Tensor, damping: float) -> Damped:
    """Damps `gram` [C, C] by `damping` of its mean diagonal, and by ten times more as often as it takes to factor it.

    A singular matrix (fewer tokens than inputs, or inputs that repeat each other) begins at 0.1. Every step beyond
    what was asked is said in `warnings`. EspalierError if 10 is not enough.
    """
    matrix = without_dead(gram)
    mean = matrix.diagonal().mean()
    used = max(damping, SINGULAR_DAMPING) if is_singular(matrix) else damping
    while used <= LAST_DAMPING:
        damped = matrix.clone()
        damped.diagonal().add_(used * mean)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            warnings = () if used == damping else (_warning(damping, used),)
            return Damped(damped, factor, used, warnings)
        used *= 10
    raise EspalierError(
        f"The Gram matrix of the inputs cannot be factored, even damped by {LAST_DAMPING:g} times its mean diagonal: "
        "use other calibration text, or --solver none."
    )


def is_singular(matrix: torch.Tensor) -> bool:
    """Whether, by the `matrix` [C, C] of live inputs, one is but for noise a linear combination of others."""
    scale = matrix.diagonal().rsqrt().float()
    factor, failed = torch.linalg.cholesky_ex((matrix.float() * scale).mul_(scale[:, None]))
    return bool(failed) or bool(factor.diagonal().square().min() < SINGULAR_PIVOT)


def _warning(asked: float, used: float) -> str:
    return (
        f"the Gram matrix of its inputs is singular (too few calibration tokens, or inputs that repeat each other) and "
        f"was damped by {used:g} of its mean diagonal, not {asked:g}: more --samples may help."
    )
