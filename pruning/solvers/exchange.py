"""Refit-aware exchange: kept and dropped weights change places as long as the refitted error falls."""

from __future__ import annotations

import torch

from models.errors import RequestError
from pruning.gram import LEAST_DAMPING
from pruning.least_squares import LeastSquares
from pruning.patterns.n_m import NM
from pruning.patterns.unstructured import Unstructured
from pruning.problem import Problem, Solution
from pruning.registry import register

BETWEEN = 10  # steps of conjugate gradients after every exchange
FINAL = 20
FIRST_SHARE = 0.1  # of a row's places, exchanged in its first round
ROUNDS = 100
PATIENCE = 3  # single pairs that may fail in a row of the weight before it is left alone
POOLED_ROUNDS = 20
POOLED_SHARE = 0.02  # of the layer's places, exchanged in the first pooled round


@register("solver", "exchange", needs=("gram",))
def exchange(problem: Problem) -> Solution:
    """Refits, then lets dropped weights take the place of kept ones while that lowers the error. The best, and slower.

    From the method's mask and a refit by conjugate gradients: with the residual gradient Z = (W - V) H, taking weight
    p back is worth about Z_p^2 / sqrt(H_pp / [H^-1]_pp) and losing k costs at least V_k^2 / [H^-1]_kk. The pairs of
    most gain change places, all at once, everything is refitted, and a row takes the outcome only if its own error
    fell, else it tries half as many. Row counts stay; where the pattern compares weights within the layer, rows first
    trade places with each other while the layer's error falls. N:M exchanges within its groups. Related: ALPS (Meng et
    al., 2024), SparseSwaps (2025), and local search for best subset selection (Hazimeh and Mazumder, 2018).

    RequestError for a pattern within which single weights cannot change places.
    """
    pattern, shape = problem.target.pattern, problem.weight.shape
    if not isinstance(pattern, (NM, Unstructured)):
        raise RequestError(
            f"The solver exchange moves single weights, which {type(pattern).__name__} patterns do not allow: "
            "use --solver refit, or --pattern unstructured or N:M."
        )
    keep = problem.keep(problem.scores)
    search = Search(LeastSquares.of(problem, LEAST_DAMPING), keep, (problem.scores > -torch.inf) & problem.alive)
    if isinstance(pattern, NM):
        search.within_rows(group=pattern.of)
    else:
        if pattern.unit(shape[0], problem.target.group) == 1:
            search.across_rows()
        search.within_rows(group=None)
    layer = search.layer
    fitted = layer.descend(layer.weight, search.fitted, search.keep, FINAL)
    return layer.solution(problem, fitted, search.keep)


class Search:
    """The mask and the weights found so far, and the moves that better them.

    layer: the least squares problem. keep [R, C]: the mask, `free` [R, C]: False where no weight may come back.
    """

    def __init__(self, layer: LeastSquares, keep: torch.Tensor, free: torch.Tensor):
        self.layer = layer
        self.keep = keep.clone()
        self.fitted = layer.descend(layer.weight, layer.weight * keep, keep, BETWEEN)
        self._free = free
        self._errors = layer.errors(layer.weight, self.fitted)
        # Between the two bounds of what a return is worth: of H_pp, nothing else moves, of 1 / [H^-1]_pp, all does.
        self._stiffness = (layer.curvature.diagonal() / layer.inverse_diagonal).sqrt()

    def across_rows(self) -> None:
        """Exchanges over the whole layer, so that places move to the rows that need them, while its error falls."""
        layer, count = self.layer, int(POOLED_SHARE * self.keep.numel())
        for _ in range(POOLED_ROUNDS):
            gains, costs = self._values(slice(None), self._free)
            gains, incoming = gains.flatten().topk(count)
            costs, outgoing = costs.flatten().topk(count, largest=False)
            better = gains > costs
            if not better.any():
                return
            keep = self.keep.flatten().index_fill(0, outgoing[better], False).index_fill_(0, incoming[better], True)
            keep = keep.view_as(self.keep)
            fitted = layer.descend(layer.weight, self.fitted * keep, keep, BETWEEN)
            errors = layer.errors(layer.weight, fitted)
            if errors.sum() < self._errors.sum():
                self.keep, self.fitted, self._errors = keep, fitted, errors
            else:
                count //= 2

    def within_rows(self, group: int | None) -> None:
        """Exchanges within every row, or within its groups of `group` consecutive columns; each row fares by itself."""
        layer = self.layer
        rows, columns = self.keep.shape
        places = columns if group is None else columns // group
        quota = torch.full((rows,), max(int(FIRST_SHARE * places), 1), device=self.keep.device)
        failures = torch.zeros_like(quota)
        untried = self._free.clone()
        for _ in range(ROUNDS):
            active = quota.nonzero()[:, 0]
            if not len(active):
                return
            gains, costs = self._values(active, untried)
            incoming, outgoing, valid = _pairs(gains, costs, int(quota.max()), group)
            valid &= torch.arange(valid.shape[1], device=valid.device) < quota[active, None]
            keep = self.keep[active]
            keep = (keep | _marked(incoming, valid, columns)) & ~_marked(outgoing, valid, columns)
            weight = layer.weight[active]
            fitted = layer.descend(weight, self.fitted[active] * keep, keep, BETWEEN)
            errors = layer.errors(weight, fitted)
            better = errors < self._errors[active]
            won, lost = active[better], active[~better]
            self.keep[won], self.fitted[won], self._errors[won] = keep[better], fitted[better], errors[better]
            untried[won], failures[won] = self._free[won], 0
            # A single pair that failed is not tried again before the row has changed.
            single = quota[lost] == 1
            last = lost[single]
            untried[last] &= ~_marked(incoming[~better][single, :1], valid[~better][single, :1], columns)
            untried[last] &= ~_marked(outgoing[~better][single, :1], valid[~better][single, :1], columns)
            failures[last] += 1
            quota[lost] = (quota[lost] // 2).clamp_min(1)
            quota[failures > PATIENCE] = 0

    def _values(self, rows: slice | torch.Tensor, open_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What taking back each dropped weight of `rows` is worth, and what losing each kept one costs, both [r, C]."""
        keep, fitted, may = self.keep[rows], self.fitted[rows], open_[rows]
        residual = (self.layer.weight[rows] - fitted) @ self.layer.curvature
        gains = (residual.square() / self._stiffness).masked_fill_(keep | ~may, -torch.inf)
        costs = (fitted.square() / self.layer.inverse_diagonal).masked_fill_(~(keep & may), torch.inf)
        return gains, costs


def _pairs(
    gains: torch.Tensor, costs: torch.Tensor, count: int, group: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The columns that come and that go, most gain first, [r, count] each, and which of the pairs exist."""
    if group is None:
        gain, incoming = gains.topk(count, dim=1)
        cost, outgoing = costs.topk(count, dim=1, largest=False)
        return incoming, outgoing, gain.isfinite() & cost.isfinite()
    gain, coming = gains.unflatten(1, (-1, group)).max(dim=2)
    cost, going = costs.unflatten(1, (-1, group)).min(dim=2)
    worth, groups = (gain - cost).topk(count, dim=1)
    first = groups * group
    return first + coming.gather(1, groups), first + going.gather(1, groups), worth.isfinite()


def _marked(columns: torch.Tensor, valid: torch.Tensor, count: int) -> torch.Tensor:
    """A mask [r, count], True at those `columns` [r, k] that are `valid` [r, k]."""
    marks = torch.zeros(len(columns), count, dtype=torch.bool, device=columns.device)
    return marks.scatter_(1, columns, valid)
