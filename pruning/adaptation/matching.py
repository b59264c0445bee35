"""Weights to aim at: what a projection would have to be to give the dense model's outputs on the inputs that are left.

Layer-wise pruning holds every projection to its own outputs on the inputs that the pruned parts before it give, and so
hands every earlier error on. Here two streams go through the model, h through the dense one, h' through the pruned one,
and projection W aims at Y, what it gives in the dense one: at the least squares solution of X' T ~ Y, drawn a little
towards W so that it fits text that it was not made on. Where a projection's output is added to the stream, Y is that
which brings h' back to h as well. Any solver then works on T in place of W. The target of outputs is that of GPTAQ (Li et
al., 2025, section 3), the stream as target that of "A Free Lunch in LLM Compression" (2510.14444), here in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.errors import EspalierError, RequestError
from pruning.adaptation.parts import find_parts
from pruning.adaptation.streams import StreamWalk
from pruning.adaptation.weights import check_separate, holding, shared_parameter
from pruning.anatomy.roles import Anatomy, Projection
from pruning.collect.activations import Activations, InMemory, OnDisk
from pruning.collect.blockwise import SeenEnough
from pruning.collect.statistics import INPUT_STATISTICS, TOKENS_AT_ONCE, Accumulator

if TYPE_CHECKING:
    from pruning.job import Job

RIDGE = 0.3  # of the mean square of the inputs: how strongly a target is drawn towards the dense weight
STREAMS = 2  # which wait between blocks, and which every block runs on
ENDS_PART = 1e-2  # of what a part adds to the stream: how far its last projection's output may be from it


@dataclass(frozen=True)
class Aim:
    """A projection, the weight [R, C] that it aims at, fp32, and the statistics of the inputs that it has."""

    projection: Projection
    weight: torch.Tensor
    statistics: dict[str, torch.Tensor]
    tokens: int


class Matching:
    """Both streams on their way through the blocks, as a context manager that gives the model back as it was.

    with Matching(job) as matching:
        for index in range(len(blocks)):
            with matching.block(index) as block:
                for aims in block.aims(tick):   # of the projections that read the same input, in their order
                    ...                         # prune them
    """

    def __init__(self, job: Job):
        self._job = job
        self._open = ExitStack()

    def __enter__(self) -> Matching:
        job = self._job
        walk = StreamWalk(job.model, job.anatomy.blocks, job.windows.batches, job.activations, job.device)
        self._walk = self._open.enter_context(walk)
        self._dense, self._pruned = (self._stream() for _ in range(2))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def block(self, index: int) -> MatchedBlock:
        """One block, which must be dense still: within it the streams move on through it."""
        return MatchedBlock(self._job, self._walk, index, self._dense, self._pruned)

    @torch.no_grad()
    def _stream(self) -> Activations:
        stream = OnDisk(self._job.activations) if self._job.activations else InMemory()
        self._open.callback(stream.close)
        for number in range(self._walk.count):
            stream[number] = self._walk.start(number)
        return stream


class MatchedBlock:
    """One block between the streams. At its end both have gone through it, the one through the dense weights."""

    def __init__(self, job: Job, walk: StreamWalk, index: int, dense: Activations, pruned: Activations):
        self._job, self._walk, self._index = job, walk, index
        self._dense_stream, self._pruned_stream = dense, pruned
        self._projections = job.anatomy.of_block(index)

    def __enter__(self) -> MatchedBlock:
        self._walk.bring(self._index)
        self._parameters = list(self._job.anatomy.blocks[self._index].parameters())
        self._dense = [parameter.detach().clone() for parameter in self._parameters]
        self._moved = False
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and not self._moved:  # its weights were put back from an earlier run
            self._move(self._dense_stream, dense=True)
            self._move(self._pruned_stream)

    def aims(self, tick: Callable[[float], None]) -> Iterator[list[Aim]]:
        """What the projections aim at, those that read the same input together; each is pruned before the next is asked.

        Whoever ends early must close it (`contextlib.closing`): meanwhile the block is only one of its parts.
        """
        parts = find_parts(self._job.model, self._projections, self._trial, self._pruned_stream[0])
        for place, part in enumerate(parts):
            with part.alone():
                groups = self._groups([each for each in self._projections if part.has(each)])
                for number, group in enumerate(groups):
                    ends = number + 1 == len(groups) and len(group) == 1 and self._ends(group[0])
                    yield self._aims(group, ends)
                    tick((place + (number + 1) / (len(groups) + 1)) / len(parts))
                self._move(self._dense_stream, dense=True)
                self._move(self._pruned_stream)
        self._moved = True

    def _aims(self, group: Sequence[Projection], ends: bool) -> list[Aim]:
        """The aims of projections that read one input. `ends`: what they give is added to the stream."""
        first = group[0]
        device, needs = self._walk.device, {*self._job.needs, "gram"}
        sums: dict[str, Accumulator] = {need: INPUT_STATISTICS[need](first.columns, device) for need in needs}
        products = [torch.zeros(first.columns, each.rows, device=device) for each in group]
        biases = [_bias(each) for each in group]
        count = 0
        for number in range(self._walk.count):
            wanted = self._outputs(number, group)
            given = self._input(number, first)
            mask = self._walk.batches[number].mask.to(device).reshape(-1)
            if ends:
                before = self._dense_stream[number].to(device)
                lost = (before - self._pruned_stream[number].to(device)).float().flatten(0, 1)
                # A few tokens are so large that they would decide everything: each counts by its own size.
                share = before.float().flatten(0, 1).square().mean(-1, keepdim=True).clamp_min(1e-12).rsqrt()
            for rows in mask.nonzero().flatten().split(TOKENS_AT_ONCE):
                inputs = given[rows].float()
                if ends:
                    inputs = inputs * share[rows]
                count += len(rows)
                for accumulator in sums.values():
                    accumulator.add(inputs)
                for product, output, bias in zip(products, wanted, biases, strict=True):
                    target = output[rows].float() - bias
                    if ends:
                        target = (target + lost[rows]) * share[rows]
                    product.addmm_(inputs.t(), target)
        statistics = {need: accumulator.value() for need, accumulator in sums.items()}
        if not all(bool(each.isfinite().all()) for each in (*statistics.values(), *products)):
            raise EspalierError(
                f"The inputs or outputs of {first.name} are not finite: the model overflows in this dtype, or its weights "
                "are damaged; try --dtype float32."
            )
        weights = [self._dense_weight(each) for each in group]
        found = aimed(statistics["gram"], products, weights)
        return [
            Aim(each, weight, {need: statistics[need] for need in self._job.needs}, count)
            for each, weight in zip(group, found, strict=True)
        ]

    def _groups(self, projections: Sequence[Projection]) -> list[list[Projection]]:
        """These projections in the order in which they run, those that are given the same tensor together."""
        seen: list[tuple[torch.Tensor, list[Projection]]] = []

        def note(projection: Projection, given: torch.Tensor, _: torch.Tensor) -> None:
            same = next((group for tensor, group in seen if tensor is given), None)
            if same is None:
                seen.append((given, [projection]))
            else:
                same.append(projection)

        with self._watching(projections, note):
            self._through(0, self._pruned_stream[0])
        return [group for _, group in seen]

    def _ends(self, projection: Projection) -> bool:
        """Whether the dense projection's output is just what is added to the stream now."""
        found: list[torch.Tensor] = []
        before = self._dense_stream[0].to(self._walk.device)
        with self._watching([projection], lambda _, given, output: found.append(output)), self._holding_dense():
            added = self._through(0, before) - before
        if found[0].shape != added.shape:
            return False
        return float((found[0] - added).float().norm() / added.float().norm().clamp_min(1e-12)) < ENDS_PART

    def _outputs(self, number: int, group: Sequence[Projection]) -> list[torch.Tensor]:
        """What the dense projections give on the dense stream of a batch, each [B T, R]."""
        found: dict[str, torch.Tensor] = {}

        def take(projection: Projection, _: torch.Tensor, output: torch.Tensor) -> None:
            found[projection.name] = output.flatten(0, -2)
            if len(found) == len(group):
                raise SeenEnough

        with self._watching(group, take), self._holding_dense():
            self._through(number, self._dense_stream[number])
        return [found[projection.name] for projection in group]

    def _input(self, number: int, projection: Projection) -> torch.Tensor:
        """What the projection is given of the pruned stream of a batch, [B T, C]."""
        found: list[torch.Tensor] = []

        def take(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
            found.append(args[0] if args else next(iter(kwargs.values())))
            raise SeenEnough

        handle = projection.module.register_forward_pre_hook(take, with_kwargs=True)
        try:
            self._through(number, self._pruned_stream[number])
        finally:
            handle.remove()
        return found[0].flatten(0, -2)

    def _move(self, stream: Activations, dense: bool = False) -> None:
        """Moves a stream on through what runs now."""
        with ExitStack() as stack:
            if dense:
                stack.enter_context(self._holding_dense())
            for number in range(self._walk.count):
                stream[number] = self._through(number, stream[number])

    def _holding_dense(self):
        return holding(self._parameters, self._dense)

    def _dense_weight(self, projection: Projection) -> torch.Tensor:
        with self._holding_dense():
            return projection.weight.detach().float()

    def _trial(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._through(0, hidden)

    @torch.no_grad()
    def _through(self, number: int, hidden: torch.Tensor) -> torch.Tensor:
        return self._walk.through(self._index, number, hidden)

    def _watching(self, projections: Sequence[Projection], take: Callable) -> ExitStack:
        """Within it `take(projection, input, output)` is called as they run."""
        stack = ExitStack()
        for projection in projections:

            def hook(module, args, kwargs, output, projection: Projection = projection) -> None:
                take(projection, args[0] if args else next(iter(kwargs.values())), output)

            stack.callback(projection.module.register_forward_hook(hook, with_kwargs=True).remove)
        return stack


def aimed(gram: torch.Tensor, products: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The T [R, C] that minimise ||X T^T - Y||^2 + ridge ||T - W||^2, fp32, for each X^T Y [C, R] and W [R, C].

    `gram` is X^T X [C, C]; the ridge is `RIDGE` of its mean diagonal.
    """
    ridge = RIDGE * gram.diagonal().double().mean()
    if not bool(ridge > 0):
        return list(weights)
    system = gram.double()
    system.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(system)
    sides = [product.double() + ridge * weight.double().t() for product, weight in zip(products, weights, strict=True)]
    return [torch.cholesky_solve(side, factor).t().float().contiguous() for side in sides]


def _bias(projection: Projection) -> torch.Tensor | float:
    bias = getattr(projection.module, "bias", None)
    return 0.0 if bias is None else bias.detach().float()


def matching_bytes(job: Job) -> int:
    """What matching holds besides the statistics: the first block dense, and X^T Y of its projections, fp32."""
    block = sum(parameter.nbytes for parameter in job.anatomy.blocks[0].parameters())
    return block + sum(4 * entry.rows * entry.columns for entry in job.anatomy.of_block(0))


def can_match(anatomy: Anatomy) -> bool:
    """Whether the model is one whose two streams can be matched: no mixture of experts, no parameter of two blocks."""
    return not _has_experts(anatomy) and shared_parameter(anatomy) is None


def check_matching(job: Job) -> None:
    """RequestError for a mixture of experts, whose inputs are not the same tokens in both streams, or shared blocks."""
    if _has_experts(job.anatomy):
        raise RequestError("--match dense does not know mixtures of experts: omit --match.")
    check_separate(job, "--match dense treats them one by one: omit --match")


def _has_experts(anatomy: Anatomy) -> bool:
    return any(entry.expert is not None for entry in anatomy.projections)
