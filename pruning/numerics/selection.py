"""The lowest k of every row: exact counts, and the same choice among equals on every device."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import torch

NARROW = 16  # columns up to which every pair of a row is compared: selecting in tiny rows is all overhead
SAMPLED = 1 << 16  # scores whose threshold stands for that of all, where about is good enough
PARALLEL = 1 << 17  # scores from which a selection is shared out among threads


def keep_highest(scores: torch.Tensor, drop: int) -> torch.Tensor:
    """The mask [R, C] that drops exactly the `drop` lowest of every row of `scores` [R, C], True where kept.

    Among equal scores the leftmost go first. (`scores <= threshold`, as often written, drops every tie.)
    """
    rows, columns = scores.shape
    if drop <= 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if drop >= columns:
        return torch.zeros_like(scores, dtype=torch.bool)
    if columns <= NARROW:
        return _ranks(scores) >= drop
    threshold = _lowest(scores, drop)
    keep = scores > threshold
    missing = columns - drop - keep.view(torch.uint8).sum(dim=1, dtype=torch.int32)  # the equals that stay
    if bool(missing.any()):
        row, column = (scores == threshold).nonzero(as_tuple=True)
        equals = torch.bincount(row, minlength=rows)
        place = torch.arange(len(row), device=row.device) - (equals.cumsum(0) - equals)[row]  # among the row's equals
        stays = place >= (equals - missing)[row]
        keep[row[stays], column[stays]] = True
    return keep


def keep_about(scores: torch.Tensor, share: float) -> torch.Tensor:
    """A mask [R, C] that drops about that share of the lowest of all `scores` [R, C], to a few thousandths.

    For one of many rounds: the threshold is that of a sample, tens of times as fast as an exact one.
    """
    step = max(scores.numel() // SAMPLED, 1)
    while math.gcd(step, scores.shape[1]) > 1:  # or the sample would be of some columns only
        step += 1
    sample = scores.reshape(-1)[::step]
    drop = min(int(share * len(sample)), len(sample) - 1)
    return scores > _lowest(sample[None], drop) if drop else torch.ones_like(scores, dtype=torch.bool)


def _ranks(scores: torch.Tensor) -> torch.Tensor:
    """The place of each score in its row, [R, C], 0 the lowest; of two equals the left one is lower."""
    columns = scores.t().contiguous()  # each column one run of memory
    ranks = torch.zeros_like(columns, dtype=torch.int8)
    for left, right in combinations(range(len(columns)), 2):
        lower = columns[left] <= columns[right]
        ranks[right] += lower
        ranks[left] += ~lower
    return ranks.t()


def _lowest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th lowest of every row, [R, 1]."""
    if scores.device.type != "cpu":
        return scores.kthvalue(k, dim=1, keepdim=True).values
    # numpy selects with vector instructions: 9 to 50 times as fast as torch. It lets go of the interpreter meanwhile.
    values = scores.detach().numpy()
    threads = min(torch.get_num_threads(), len(values)) if values.size >= PARALLEL else 1
    parts = np.array_split(values, threads)
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda part: np.partition(part, k - 1, axis=1)[:, k - 1 : k], parts))
    return torch.from_numpy(np.concatenate(found))
