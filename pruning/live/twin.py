"""A copy of a dense model whose masks change within a second."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.console.stopping import give_way
from models.counting import BITS, count_nonzero
from models.errors import RequestError
from pruning.anatomy.roles import Projection, find_anatomy
from pruning.config import PruningConfig
from pruning.live.input_norms import STATISTIC, InputNorms
from pruning.numerics.mask_rule import MaskRule
from pruning.registry import find

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NOTE = "A live preview: the masks come from the dense model's statistics, without error propagation between blocks."


@dataclass(frozen=True)
class Preview:
    """What a twin carries now: zeros among its `prunable` weights, and how they came about."""

    config: PruningConfig
    zeros: int
    prunable: int
    note: str = NOTE

    @property
    def sparsity(self) -> float:
        """Zeros among the prunable weights, as a fraction."""
        return self.zeros / max(self.prunable, 1)


def needs_norms(config: PruningConfig) -> bool:
    """Whether a preview of these settings reads the norms. RequestError, saying why, if they cannot be previewed."""
    method = find("method", config.method)
    pattern = config.parsed_pattern()
    why = None
    if config.structure != "none" or set(method.needs) - {STATISTIC}:
        why = f"the method {config.method} needs more than the size of inputs"
    elif config.solver != "none":
        why = f"the solver {config.solver} changes the weights that stay"
    elif pattern.across_layers or pattern.permuted:
        why = f"the pattern {config.pattern} looks at the whole model first"
    elif (config.allocation, config.schedule, config.budget) != ("uniform", "one-shot", None):
        why = "shares, steps and budgets are settled over the whole model"
    if why:
        raise RequestError(f"There is no live preview of this ({why}): prune it.")
    return bool(method.needs)


class LiveTwin:
    """A copy of `dense`, which must stay as it is: the weights that stay are copied from it every time."""

    def __init__(self, dense: PreTrainedModel):
        self.model = copy.deepcopy(dense)
        self._dense = find_anatomy(dense).projections
        self._own = find_anatomy(self.model).projections
        for source, own in zip(self._dense, self._own, strict=True):
            if source.name != own.name:
                raise AssertionError("a copy has the projections of what it was copied from, in their order")

    def apply(self, config: PruningConfig, norms: InputNorms | None = None) -> Preview:
        """Gives the copy the masks of `config`; each projection is scored by the dense weights and `norms` alone.

        RequestError if the settings cannot be previewed or the pattern does not fit. Where it is cut off by
        Cancelled the copy is neither here nor there until the next call.
        """
        reads = needs_norms(config)
        method, pattern = find("method", config.method), config.parsed_pattern()
        target = MaskRule(pattern, config.sparsity, method.group)
        for source in self._dense:
            if why := pattern.misfit(source.rows, source.columns):
                raise RequestError(f"The pattern {config.pattern} does not fit {source.name} ({why}): choose another.")

        @torch.no_grad()  # which is each thread's own
        def mask(source: Projection, own: Projection) -> int:
            weight = source.weight
            statistics = {STATISTIC: norms.norms[source.name].to(weight.device)} if reads else {}
            keep = target.keep(method.implementation(weight, statistics))
            return weight.numel() - _masked(weight, keep, own.weight)

        zeros = sum(_side_by_side(mask, self._dense, self._own))
        return Preview(config, zeros, sum(source.weight.numel() for source in self._dense))


def _masked(weight: torch.Tensor, keep: torch.Tensor, out: torch.Tensor) -> int:
    """Writes `weight` where `keep` is True and zero elsewhere into `out`, all [R, C]; how many are not zero.

    By their bits: six times as fast on a CPU as a product or a filling.
    """
    bits = BITS[weight.element_size()]
    torch.bitwise_and(weight.view(bits), -keep.to(bits), out=out.view(bits))
    return count_nonzero(out)


def _side_by_side(work: Callable[..., int], *sequences: Sequence[Projection]) -> Iterator[int]:
    """The results of `work`, one thread a core and each on a projection of its own.

    Torch's own threads wait for each other at every operation, here thousands of times a second: on a busy machine that
    is ten times as slow.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    try:
        for result in pool.map(work, *sequences):
            give_way()
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
