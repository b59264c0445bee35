"""Channel permutation for N:M: an order of the input channels in which the N kept of every M hold more score."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import torch

from pruning.anatomy.coupled_channels import find_coupled_channels
from pruning.sharing import visit_dense

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.anatomy.roles import Projection
    from pruning.job import Job
    from pruning.patterns.n_m import NM

ROUNDS = 20  # of swaps between runs that are paired anew
SCORES_AT_ONCE = 1 << 24  # how many are held while swaps are tried


def find_orders(job: Job, pattern: NM) -> dict[str, tuple[int, ...]]:
    """The order of the input channels, head after head, of every projection where it is free, by the dense scores.

    What keeps its order is reported in `job.warnings`.
    """
    folds = {fold.consumer.name: fold for fold in find_coupled_channels(job.model, job.anatomy.projections)}
    folds = {name: fold for name, fold in folds.items() if fold.width % pattern.of == 0}

    def order(entry: Projection, statistics: Mapping[str, Tensor]) -> Tensor | None:
        if entry.name not in folds:
            return None
        scores = job.method.implementation(entry.weight.float(), statistics)
        heads = folds[entry.name].by_head(scores)
        return torch.cat([best_order(head, pattern.kept, pattern.of) for head in heads])

    orders = visit_dense(job, job.method.needs, order)
    free, bound = (
        sorted({entry.role for entry in job.anatomy.projections if (entry.name in folds) == is_free})
        for is_free in (True, False)
    )
    job.warnings.append(
        f"The input channels of {len(folds)} of {len(orders)} projections ({', '.join(free) or 'none'}) were put into "
        f"another order; the others ({', '.join(bound) or 'none'}) keep theirs, since what they read cannot follow."
    )
    return {name: tuple(order.tolist()) for name, order in orders.items() if order is not None}


def reorder(job: Job, orders: Mapping[str, tuple[int, ...]]) -> None:
    """Puts the input channels of projections, by name, into those orders; the model computes the same as before.

    What was taken of gradients is forgotten, since it is in the old order.
    """
    if orders:
        job.gradients.clear()
    for fold in find_coupled_channels(job.model, job.anatomy.projections):
        if fold.consumer.name in orders:
            order = torch.tensor(orders[fold.consumer.name]).reshape(fold.heads, fold.width)
            fold.reorder(order)
            if job.undo_steps is not None:
                job.undo_steps.append(lambda fold=fold, order=order: fold.reorder(order.argsort(dim=1)))


def best_order(scores: Tensor, kept: int, of: int) -> Tensor:
    """An order of the C columns of `scores` [R, C] in which the `kept` highest of every run of `of` sum up to more.

    The columns, the highest sums first, are dealt to the runs in turn, back and forth, so that each has as many strong
    ones; then runs are paired at random and the best swap of a column between the two is made, if it gains. Never
    below the order given. The same for the same scores. int64 [C], on the CPU. After Zhang et al., "Plug-and-Play: An
    Efficient Post-training Pruning Method for Large Language Models" (2024), section 3.2, and Pool and Yu, "Channel
    Permutations for N:M Sparsity" (2021), section 3.
    """
    columns = scores.shape[1]
    runs = columns // of
    ranked = scores.sum(dim=0).argsort(descending=True).reshape(of, runs)
    ranked[1::2] = ranked[1::2].flip(1)
    dealt, given = ranked.t().flatten(), torch.arange(columns, device=scores.device)
    order = max(given, dealt, key=lambda one: float(kept_score(scores[:, one].reshape(-1, runs, of), kept).sum()))
    order = order.reshape(runs, of).clone()
    generator = torch.Generator().manual_seed(0)
    at_once = max(1, SCORES_AT_ONCE // (len(scores) * 2 * of))
    for _ in range(ROUNDS if runs > 1 else 0):
        pairs = torch.randperm(runs, generator=generator)[: runs // 2 * 2].reshape(-1, 2).to(scores.device)
        for some in pairs.split(at_once):
            _swap(scores, order, some, kept)
    return order.flatten().cpu()


def kept_score(scores: Tensor, kept: int) -> Tensor:
    """What the `kept` highest of each run hold, summed over rows: fp64 [runs], for scores [R, runs, M]."""
    return scores.topk(kept, dim=-1).values.sum(dim=(0, 2), dtype=torch.float64)


def _swap(scores: Tensor, order: Tensor, pairs: Tensor, kept: int) -> None:
    """Makes the best column swap between the two runs of each of `pairs` [P, 2], in place in `order` [runs, M]."""
    left, right = (order[pairs[:, side]] for side in (0, 1))  # [P, M]

    def held(first: Tensor, second: Tensor) -> Tensor:
        return kept_score(scores[:, first], kept) + kept_score(scores[:, second], kept)

    best, best_left, best_right = held(left, right), left, right
    for here, there in product(range(order.shape[1]), repeat=2):
        new_left, new_right = left.clone(), right.clone()
        new_left[:, here], new_right[:, there] = right[:, there], left[:, here]
        value = held(new_left, new_right)
        better = value > best * (1 + 1e-9)  # more than rounding
        best = torch.where(better, value, best)
        best_left = torch.where(better[:, None], new_left, best_left)
        best_right = torch.where(better[:, None], new_right, best_right)
    order[pairs[:, 0]], order[pairs[:, 1]] = best_left, best_right
