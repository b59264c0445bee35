"""SparseGPT: column after column, what a dropped weight did is handed on to the columns after it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from models.errors import RequestError
from pruning.numerics.gram import damp
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.selection import keep_highest
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.registry import register

DAMPING = 0.01  # of the mean diagonal, as published
BLOCK = 128  # columns between two updates of all that follow, and that share one choice of zeros
NARROW = 16  # columns between two updates of their block: within them the work goes column by column


@register("solver", "sparsegpt", needs=("gram",), chooses=("obs",))
def sparsegpt(problem: LayerProblem) -> Solution:
    """The published column-by-column update; with the method obs it chooses the zeros as it goes, else keeps the mask.

    With obs the zeros of every 128 columns (of every M columns for N:M) are those of lowest w^2 / U_jj^2, w being the
    weights as updated so far and U the upper Cholesky factor of the inverse of the Gram matrix, damped by 0.01 of its
    mean diagonal; each block carries its share, in all exactly what the pattern says. Frantar and Alistarh,
    "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot" (2023), algorithm 1.

    RequestError for obs with a pattern that it cannot choose column by column.
    """
    gram = problem.statistics["gram"]
    span, choose = _choice(problem)
    # With the order of the columns reversed H = L L^T, so that in their usual order H = A A^T with A = U^-1.
    damped = damp(gram.flip(0, 1), DAMPING)
    factor = damped.cholesky.flip(0, 1).float()
    dead = gram.diagonal() == 0
    dense = problem.weight.masked_fill(dead, 0).t().contiguous()  # [C, R]: a column is one run of memory
    fitted, keep = _sweep(dense, factor, span, choose)
    fitted[dead] = problem.weight.t()[dead].masked_fill(~keep[dead], 0)
    return Solution(fitted.t(), keep.t(), damped.warnings)


# What stays of some columns [k, R], given their updated weights over U_jj, [k, R], and the index of the first.
Choose = Callable[[torch.Tensor, int], torch.Tensor]


def _sweep(dense: torch.Tensor, factor: torch.Tensor, span: int, choose: Choose) -> tuple[torch.Tensor, torch.Tensor]:
    """The new weights and what stays of them, [C, R], for `dense` [C, R] and A [C, C] as `factor`.

    The textbook hands on errors e_j by U, so that W - V = e U, and inverts H for it. Then e = (W - V) A, and column j
    as updated by all before it is w_j + sum_i<j (w_i - v_i) A_ij / A_jj: the same numbers, and no inverse. A column
    updates only the few narrow ones after it, those the rest of their block, and that the rest, by matrix products.
    """
    count = len(dense)
    pivots = factor.diagonal()
    weights = factor / pivots
    fitted, changes = dense.clone(), torch.empty_like(dense)
    keep = torch.empty_like(dense, dtype=torch.bool)
    stays = torch.empty_like(dense)  # the same as numbers: a product of two types makes a copy every time
    narrow, block = _widths(span)
    for start in range(0, count, block):
        stop = min(start + block, count)
        for first in range(start, stop, narrow):
            last = min(first + narrow, stop)
            for column in range(first, last):
                if column % span == 0:
                    chosen = slice(column, min(column + span, count))
                    ahead = _if_all_stay(dense[chosen], fitted[chosen], weights[chosen, chosen])
                    stays[chosen] = keep[chosen] = choose(ahead.mul_(pivots[chosen, None]), column)
                torch.sub(dense[column], fitted[column].mul_(stays[column]), out=changes[column])
                fitted[column + 1 : last].addr_(weights[column, column + 1 : last], changes[column])
            fitted[last:stop].addmm_(weights[first:last, last:stop].t(), changes[first:last])
        fitted[stop:].addmm_(weights[start:stop, stop:].t(), changes[start:stop])
    return fitted, keep


def _if_all_stay(dense: torch.Tensor, fitted: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What some columns [k, R] become by the changes before them if none of their own goes, which is e = 0 for them.

    `fitted` lacks what they hand on to each other, by `weights` [k, k].
    """
    return torch.linalg.solve_triangular(weights.t(), fitted - dense, upper=False, unitriangular=True).add_(dense)


def _widths(span: int) -> tuple[int, int]:
    """Of a narrow run and of a block: a choice of `span` columns lies in one run or begins with one, in one block."""
    if span <= NARROW:
        narrow = NARROW // span * span
    else:
        narrow = NARROW if span % NARROW == 0 else span
    widest = max(span, narrow)
    return narrow, max(BLOCK // widest, 1) * widest


def _choice(problem: LayerProblem) -> tuple[int, Choose]:
    """How many columns are decided together, and how."""
    pattern = problem.target.pattern
    if problem.method != "obs":
        keep = problem.keep(problem.scores).t()
        return BLOCK, lambda weights, first: keep[first : first + len(weights)]
    gone, alive = problem.scores.t() == -torch.inf, problem.alive.t()
    if isinstance(pattern, NM):
        return pattern.of, _among(alive, partial(_lowest_of_m, problem, gone))
    if isinstance(pattern, Unstructured):
        return BLOCK, _among(alive, _Shares(problem, gone))
    raise RequestError(
        f"The solver sparsegpt with the method obs chooses zeros by columns, which {type(pattern).__name__} patterns "
        "do not allow: use another method or solver, or --pattern unstructured or N:M."
    )


def _among(alive: torch.Tensor, choose: Choose) -> Choose:
    """The same choice, in which what is not `alive` [C, R] goes first and never stays."""

    def chosen(weights: torch.Tensor, first: int) -> torch.Tensor:
        here = alive[first : first + len(weights)]
        return choose(weights * here, first) & here

    return chosen


def _lowest_of_m(problem: LayerProblem, gone: torch.Tensor, weights: torch.Tensor, first: int) -> torch.Tensor:
    scores = weights.square().masked_fill(gone[first : first + len(weights)], -torch.inf)
    return problem.target.keep(scores.t().contiguous()).t()


class _Shares:
    """Unstructured zeros: every block drops what the pattern says of all columns so far, less what has gone before."""

    def __init__(self, problem: LayerProblem, gone: torch.Tensor):
        self._target = problem.target
        self._rows, self._columns = problem.weight.shape
        self._gone = gone
        self._gone_of_column = gone.sum(dim=1).cpu()
        self._dropped = 0

    def __call__(self, weights: torch.Tensor, first: int) -> torch.Tensor:
        last = first + len(weights)
        gone, gone_later = int(self._gone_of_column[first:last].sum()), int(self._gone_of_column[last:].sum())
        left = self._target.dropped(self._rows, self._columns) - self._dropped - gone_later
        share = self._target.dropped(self._rows, last) - self._dropped
        share = min(max(share, gone), left)
        by_row = self._target.pattern.unit(self._rows, self._target.group) == self._rows
        if by_row:
            share -= share % self._rows
        self._dropped += share
        scores = weights.square()
        if gone:
            scores.masked_fill_(self._gone[first:last], -torch.inf)
        if by_row:
            return keep_highest(scores.t(), share // self._rows).t()
        return keep_highest(scores.reshape(1, -1), share).reshape(scores.shape)
