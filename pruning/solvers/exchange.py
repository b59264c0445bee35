"""Refit-aware exchange: kept and dropped weights change places as long as the refitted error falls."""

from __future__ import annotations

import torch

from models.errors import RequestError
from pruning.numerics.alternation import alternate
from pruning.numerics.gram import LEAST_DAMPING
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.least_squares import LeastSquares, errors
from pruning.numerics.matmul import coarse_matmul
from pruning.numerics.selection import keep_about
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.registry import register

BEGINNING, BETWEEN, FINAL = 10, 4, 10  # steps of conjugate gradients at first, after every exchange, and at last
SHARE = 0.02  # of the places, exchanged in the first round
ROUNDS = 3  # across rows, and as many within them
LEAST_GAIN = 1e-3  # of the error: a round that gains less is the last


@register("solver", "exchange", needs=("gram",))
def exchange(problem: LayerProblem) -> Solution:
    """Finds a mask by alternating directions, then exchanges kept and dropped weights while the error falls. The best.

    From the method's mask or the one that alternating directions make of it (`pruning.numerics.alternation`), whichever refits
    better, and a refit by conjugate gradients: with the pull Z = (W - V) H, taking weight p back is worth about
    Z_p^2 / sqrt(H_pp / [H^-1]_pp) and losing k costs at least V_k^2 / [H^-1]_kk. The pairs of most gain change places,
    all at once, everything is refitted, and a row takes the outcome only if its own error fell, else it tries half as
    many. Row counts stay; where the pattern compares weights within the layer, rows trade places with each other while
    the layer's error falls. N:M exchanges within its groups. Related: ALPS (Meng et al., 2024), SparseSwaps (2025), and
    local search for best subset selection (Hazimeh and Mazumder, 2018).

    RequestError for a pattern within which single weights cannot change places.
    """
    pattern, shape = problem.target.pattern, problem.weight.shape
    if not isinstance(pattern, (NM, Unstructured)):
        raise RequestError(
            f"The solver exchange moves single weights, which {type(pattern).__name__} patterns do not allow: "
            "use --solver refit, or --pattern unstructured or N:M."
        )
    layer = LeastSquares.of(problem, LEAST_DAMPING)
    free = (problem.scores > -torch.inf) & problem.alive
    pooled = isinstance(pattern, Unstructured) and pattern.unit(shape[0], problem.target.group) == 1

    def scored(weight: torch.Tensor) -> torch.Tensor:
        # What is zero in the dense model goes first, but not like what went: a whole block need not go with it.
        return (weight * problem.alive).abs_().masked_fill_(problem.scores == -torch.inf, -torch.inf)

    def support(weight: torch.Tensor) -> torch.Tensor:
        return problem.keep(scored(weight))

    def rough(weight: torch.Tensor) -> torch.Tensor:
        return keep_about(weight.abs(), problem.target.sparsity) & free if pooled else support(weight)

    given = problem.keep(problem.scores)
    search = Search(layer, given, free)
    search.take(Search(layer, alternate(layer, given, support, rough), free), by_row=not pooled)
    if pooled:
        search.across_rows()
    search.within_rows(group=pattern.of if isinstance(pattern, NM) else None)
    fitted = layer.descend(layer.weight, search.fitted, search.keep, FINAL)
    return layer.solution(problem, fitted, search.keep)


class Search:
    """The mask and the weights found so far, and the moves that better them.

    layer: the least squares problem. keep [R, C]: the mask, `free` [R, C]: False where no weight may come back. Beside
    them are the pull (W - V) H [R, C] and each row's error [R], which every refit brings along.
    """

    def __init__(self, layer: LeastSquares, keep: torch.Tensor, free: torch.Tensor):
        self.layer, self.keep, self._free = layer, keep, free
        # Between the two bounds of what a return is worth: of H_pp, nothing else moves, of 1 / [H^-1]_pp, all does.
        self._stiffness = (layer.curvature.diagonal() / layer.inverse_diagonal).sqrt()
        start = layer.weight * keep
        self.fitted, self._pull, self._errors = self._refit(start, layer.pull(layer.weight, start), keep, BEGINNING)

    def take(self, other: Search, by_row: bool) -> bool:
        """Takes over what another search found where that is better: row by row, or all or nothing. Whether any was."""
        better = other._errors < self._errors
        if not by_row:
            better.fill_(bool(other._errors.sum() < self._errors.sum()))
        self._set(better, other.keep, other.fitted, other._pull, other._errors)
        return bool(better.any())

    def across_rows(self) -> None:
        """Exchanges over the whole layer, so that places move to the rows that need them, while its error falls."""
        count = max(int(SHARE * self.keep.numel()), 1)
        for _ in range(ROUNDS):
            before = self._errors.sum()
            gains, costs = self._values()
            gains, incoming = gains.flatten().topk(count)
            costs, outgoing = costs.flatten().topk(count, largest=False)
            better = gains > costs
            if not better.any():
                return
            keep = self.keep.flatten().index_fill(0, outgoing[better], False).index_fill_(0, incoming[better], True)
            self._try(keep.view_as(self.keep), by_row=False)
            after = self._errors.sum()
            if after == before:
                count = max(count // 2, 1)
            elif after > (1 - LEAST_GAIN) * before:
                return

    def within_rows(self, group: int | None) -> None:
        """Exchanges within every row, or within its groups of `group` consecutive columns; each row fares by itself."""
        rows, columns = self.keep.shape
        places = columns if group is None else columns // group
        quota = torch.full((rows, 1), max(int(SHARE * places), 1), device=self.keep.device)
        for _ in range(ROUNDS):
            before = self._errors.sum()
            most = int(quota.max())
            if not most:
                return
            incoming, outgoing, valid = _pairs(*self._values(), most, group)
            valid &= torch.arange(most, device=valid.device) < quota
            keep = (self.keep | _marked(incoming, valid, columns)) & ~_marked(outgoing, valid, columns)
            better = self._try(keep, by_row=True)
            quota[~better] //= 2
            if better.any() and self._errors.sum() > (1 - LEAST_GAIN) * before:
                return

    def _try(self, keep: torch.Tensor, by_row: bool) -> torch.Tensor:
        """Refits another mask and takes what is better, row by row or all or nothing; which rows did, [R]."""
        start = self.fitted * keep
        with coarse_matmul():  # of little things: what goes, and what it changes
            pull = self._pull + self.layer.pull(self.fitted, start)
        fitted, pull, found = self._refit(start, pull, keep, BETWEEN)
        better = found < self._errors
        if not by_row:
            better.fill_(bool(found.sum() < self._errors.sum()))
        self._set(better, keep, fitted, pull, found)
        return better

    def _refit(
        self, start: torch.Tensor, pull: torch.Tensor, keep: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What some steps make of `start`, by coarse products; then its pull and its errors, exactly."""
        weight = self.layer.weight
        with coarse_matmul():
            fitted, _ = self.layer.refine(start, pull, keep, steps)
        pull = self.layer.pull(weight, fitted)
        return fitted, pull, errors(weight, fitted, pull)

    def _set(self, rows: torch.Tensor, *found: torch.Tensor) -> None:
        old = (self.keep, self.fitted, self._pull)
        self.keep, self.fitted, self._pull = (
            torch.where(rows[:, None], new, mine) for new, mine in zip(found[:3], old, strict=True)
        )
        self._errors = torch.where(rows, found[3], self._errors)

    def _values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What taking back each dropped weight is worth, and what losing each kept one costs, both [R, C]."""
        gains = (self._pull.square() / self._stiffness).masked_fill_(self.keep | ~self._free, -torch.inf)
        costs = (self.fitted.square() / self.layer.inverse_diagonal).masked_fill_(~(self.keep & self._free), torch.inf)
        return gains, costs


def _pairs(
    gains: torch.Tensor, costs: torch.Tensor, count: int, group: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The columns that come and that go, most gain first, [R, count] each, and which of the pairs promise a gain."""
    if group is None:
        gain, incoming = gains.topk(count, dim=1)
        cost, outgoing = costs.topk(count, dim=1, largest=False)
        return incoming, outgoing, gain > cost
    gain, coming = gains.unflatten(1, (-1, group)).max(dim=2)
    cost, going = costs.unflatten(1, (-1, group)).min(dim=2)
    worth, groups = (gain - cost).topk(count, dim=1)
    first = groups * group
    return first + coming.gather(1, groups), first + going.gather(1, groups), worth > 0


def _marked(columns: torch.Tensor, valid: torch.Tensor, count: int) -> torch.Tensor:
    """A mask [R, count], True at those `columns` [R, k] that are `valid` [R, k]."""
    marks = torch.zeros(len(columns), count, dtype=torch.bool, device=columns.device)
    return marks.scatter_(1, columns, valid)
