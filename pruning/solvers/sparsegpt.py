"""SparseGPT: column after column, what a dropped weight did is handed on to the columns after it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.errors import RequestError
from pruning.gram import damp
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.problem import Problem, Solution
from pruning.registry import register
from pruning.selection import keep_highest

DAMPING = 0.01  # of the mean diagonal, as published
BLOCK = 128  # columns between two updates of all that follow, and that share one choice of zeros
NARROW = 16  # columns between two updates of their block: within them the work goes column by column


@register("solver", "sparsegpt", needs=("gram",))
def sparsegpt(problem: Problem) -> Solution:
    """The published column-by-column update; with the method obs it chooses the zeros as it goes, else keeps the mask.

    With obs the zeros of every 128 columns (of every M columns for N:M) are those of lowest w^2 / U_jj^2, w being the
    weights as updated so far and U the upper Cholesky factor of the inverse of the Gram matrix, damped by 0.01 of its
    mean diagonal; each block carries its share, in all exactly what the pattern says. Frantar and Alistarh,
    "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot" (2023), algorithm 1.

    RequestError for obs with a pattern that it cannot choose column by column.
    """
    gram = problem.statistics["gram"]
    span, choose = _choice(problem)
    damped = damp(gram, DAMPING)
    upper = torch.linalg.cholesky(damped.inverse(), upper=True).float()
    dead = gram.diagonal() == 0
    columns = problem.weight.masked_fill(dead, 0).t().contiguous()  # [C, R]: a column is one run of memory
    keep = _sweep(columns, upper, span, choose).t().contiguous()
    weight = torch.where(dead, problem.weight, columns.t()).masked_fill(~keep, 0)
    return Solution(weight, keep, damped.warnings)


# What stays of some columns [k, R], given their updated weights over their pivots, [k, R], and the first one's index.
Choose = Callable[[torch.Tensor, int], torch.Tensor]


def _sweep(columns: torch.Tensor, upper: torch.Tensor, span: int, choose: Choose) -> torch.Tensor:
    """Runs over `columns` [C, R] in place and returns what stays, [C, R]; `upper` is U [C, C].

    The textbook loop updates the rest of the block after every column. Here a column updates only the few narrow ones
    after it, those the rest of their block, and that the rest of the matrix, by matrix products: the same sums.
    """
    count = len(columns)
    pivots = upper.diagonal()[:, None]
    narrow, block = _widths(span)
    keep = torch.empty_like(columns, dtype=torch.bool)
    shares = torch.empty_like(columns)  # 1 / U_jj where a weight goes, else 0
    errors = torch.empty_like(columns)
    for start in range(0, count, block):
        stop = min(start + block, count)
        for first in range(start, stop, narrow):
            last = min(first + narrow, stop)
            for column in range(first, last):
                if column % span == 0:
                    chosen = slice(column, min(column + span, count))
                    keep[chosen] = choose(columns[chosen] / pivots[chosen], column)
                    shares[chosen] = ~keep[chosen] / pivots[chosen]
                torch.mul(columns[column], shares[column], out=errors[column])
                columns[column + 1 : last].addr_(upper[column, column + 1 : last], errors[column], alpha=-1)
            columns[last:stop].addmm_(upper[first:last, last:stop].t(), errors[first:last], alpha=-1)
        columns[stop:].addmm_(upper[start:stop, stop:].t(), errors[start:stop], alpha=-1)
    return keep


def _widths(span: int) -> tuple[int, int]:
    """Of a narrow run and of a block: a choice of `span` columns lies in one run or begins with one, in one block."""
    if span <= NARROW:
        narrow = NARROW // span * span
    else:
        narrow = NARROW if span % NARROW == 0 else span
    widest = max(span, narrow)
    return narrow, max(BLOCK // widest, 1) * widest


def _choice(problem: Problem) -> tuple[int, Choose]:
    """How many columns are decided together, and how."""
    pattern = problem.target.pattern
    if problem.method != "obs":
        keep = problem.target.keep(problem.scores).t()
        return BLOCK, lambda weights, first: keep[first : first + len(weights)]
    gone = problem.scores.t() == -torch.inf
    if isinstance(pattern, NM):
        return pattern.of, lambda weights, first: _lowest_of_m(problem, weights, gone[first : first + len(weights)])
    if isinstance(pattern, Unstructured):
        return BLOCK, _Shares(problem, gone)
    raise RequestError(
        f"The solver sparsegpt with the method obs chooses zeros column by column, not in the form of "
        f"{type(pattern).__name__}: use another method or solver, or --pattern unstructured or N:M."
    )


def _lowest_of_m(problem: Problem, weights: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
    scores = weights.square().masked_fill(gone, -torch.inf)
    return problem.target.keep(scores.t().contiguous()).t()


class _Shares:
    """Unstructured zeros: every block drops what the pattern says of all columns so far, less what has gone before."""

    def __init__(self, problem: Problem, gone: torch.Tensor):
        self._target = problem.target
        self._rows, self._columns = problem.weight.shape
        self._gone = gone
        self._dropped = 0

    def __call__(self, weights: torch.Tensor, first: int) -> torch.Tensor:
        last = first + len(weights)
        gone = self._gone[first:last]
        left = self._target.dropped(self._rows, self._columns) - self._dropped - int(self._gone[last:].sum())
        share = self._target.dropped(self._rows, last) - self._dropped
        share = min(max(share, int(gone.sum())), left)
        self._dropped += share
        scores = weights.square().masked_fill(gone, -torch.inf).t()
        if self._target.pattern.unit(self._rows, self._target.group) == self._rows:
            return keep_highest(scores, share // self._rows).t()
        return keep_highest(scores.reshape(1, -1), share).reshape(scores.shape).t()
