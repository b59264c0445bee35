"""What the calibration tokens say about the inputs of projections and about blocks: streaming sums in fp64.

Every token counts once, whatever batch it comes in, and padding not at all. Projections that read the same tensor
(q, k and v; gate and up) share one accumulator.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Protocol

import torch

from models.errors import EspalierError
from pruning.anatomy.experts import watch_experts
from pruning.anatomy.roles import Projection
from pruning.collect.blockwise import Batch, SeenEnough
from pruning.numerics.matmul import coarse_matmul

TOKENS_AT_ONCE = 1024  # of which copies in fp32 exist
GRAM_ROWS = 256  # of a Gram matrix that are summed together


class Accumulator(Protocol):
    """A statistic of one input: made for its `columns` and device, fed tokens, asked for its value."""

    def __init__(self, columns: int, device: torch.device): ...

    def add(self, inputs: torch.Tensor) -> None:
        """Takes the inputs [T, C] of T tokens."""

    def value(self) -> torch.Tensor:
        """The statistic of all tokens so far."""


class ColumnNorms:
    """The L2 norm of every input channel over all tokens, n_j = sqrt(sum_t x_tj^2): [C]."""

    def __init__(self, columns: int, device: torch.device):
        self._squares = torch.zeros(columns, dtype=torch.float64, device=device)

    def add(self, inputs: torch.Tensor) -> None:
        """Takes the inputs [T, C] of T tokens."""
        self._squares += inputs.float().square().sum(dim=0, dtype=torch.float64)

    def value(self) -> torch.Tensor:
        """The norms, fp64 [C]."""
        return self._squares.sqrt()


class Gram:
    """The Gram matrix of the inputs, G = sum_t x_t x_t^T: [C, C], summed in fp32.

    It is symmetric: what lies above the diagonal is summed, in blocks of rows, and copied below it in the end.
    """

    def __init__(self, columns: int, device: torch.device):
        self._gram = torch.zeros(columns, columns, dtype=torch.float32, device=device)
        self._whole = True

    def add(self, inputs: torch.Tensor) -> None:
        """Takes the inputs [T, C] of T tokens."""
        tokens = inputs.float()
        self._whole = False
        # The products of bf16 numbers are the same numbers either way, and their sums are in fp32.
        with coarse_matmul() if inputs.dtype == torch.bfloat16 else nullcontext():
            for start in range(0, len(self._gram), GRAM_ROWS):
                rows = slice(start, start + GRAM_ROWS)
                self._gram[rows, start:].addmm_(tokens[:, rows].t(), tokens[:, start:])

    def value(self) -> torch.Tensor:
        """The matrix, fp32 [C, C]."""
        if not self._whole:
            self._gram.triu_().add_(self._gram.triu(1).t())
            self._whole = True
        return self._gram


class Means:
    """The mean of every input channel over all tokens: [C]."""

    def __init__(self, columns: int, device: torch.device):
        self._sums = torch.zeros(columns, dtype=torch.float64, device=device)
        self._tokens = 0

    def add(self, inputs: torch.Tensor) -> None:
        """Takes the inputs [T, C] of T tokens."""
        self._sums += inputs.float().sum(dim=0, dtype=torch.float64)
        self._tokens += len(inputs)

    def value(self) -> torch.Tensor:
        """The means, fp64 [C]."""
        return self._sums / max(self._tokens, 1)


class Variances:
    """The variance of every input channel over all tokens, mean_t (x_tj - mean_j)^2: [C].

    Batches are merged by their means and squared deviations (Chan, Golub and LeVeque 1979), which loses nothing where
    the mean is far from zero.
    """

    def __init__(self, columns: int, device: torch.device):
        self._means = torch.zeros(columns, dtype=torch.float64, device=device)
        self._deviations = torch.zeros_like(self._means)
        self._tokens = 0

    def add(self, inputs: torch.Tensor) -> None:
        """Takes the inputs [T, C] of T tokens."""
        new = len(inputs)
        if not new:
            return
        tokens = inputs.double()
        means = tokens.mean(dim=0)
        apart = means - self._means
        together = self._tokens + new
        self._deviations += (tokens - means).square().sum(dim=0) + apart.square() * (self._tokens * new / together)
        self._means += apart * (new / together)
        self._tokens = together

    def value(self) -> torch.Tensor:
        """The variances, fp64 [C]."""
        return self._deviations / max(self._tokens, 1)


# What a score's or solver's `needs` may name. Another statistic adds one class and one line.
INPUT_STATISTICS: dict[str, type[Accumulator]] = {
    "column_norms": ColumnNorms,
    "gram": Gram,
    "means": Means,
    "variances": Variances,
}


class InputStatistics:
    """Collects the named statistics of the inputs of some projections while they run, as a context manager.

    Call `begin(batch)` before every forward pass: it tells which tokens are padding. With `ending` a pass is ended by
    SeenEnough once all inputs were seen, so that what comes after the last of them is not computed for nothing; the
    first pass is whole, as are those with experts.
    """

    def __init__(self, projections: Sequence[Projection], needs: Iterable[str], ending: bool = False):
        self._projections = projections
        self._ending = ending and all(projection.expert is None for projection in projections)
        self._begun = 0
        self._needs = tuple(needs)
        self._open = ExitStack()
        self._leaders: dict[str, str] = {}  # a projection, and the one whose accumulators hold its input
        self._accumulators: dict[str, dict[str, Accumulator]] = {}
        self._tokens: dict[str, int] = {}  # how many each leader was given
        self._seen: list[tuple[torch.Tensor, str]] = []  # inputs of the present pass and whose they are
        self._mask: torch.Tensor | None = None

    def __enter__(self) -> "InputStatistics":
        self._open.enter_context(watch_experts(self._projections, self._take_expert))
        for projection in self._projections:
            if projection.expert is None:
                handle = projection.module.register_forward_pre_hook(self._hook(projection), with_kwargs=True)
                self._open.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._seen.clear()

    def begin(self, batch: Batch) -> None:
        """Announces the next forward pass."""
        if self._begun == 1:  # a module that ran twice in the first pass may again
            self._ending &= len(self._seen) == len(self._accumulators)
        self._begun += 1
        self._seen.clear()
        self._mask = None if bool(batch.mask.all()) else batch.mask.reshape(-1)

    def of(self, projection: Projection) -> dict[str, torch.Tensor]:
        """The statistics of a projection's input. EspalierError if it never ran or a statistic is not finite.

        An expert that no token was sent to (`tokens` is 0) has those of the C unit vectors, which make all channels
        equal: whatever reads them decides by the weights alone.
        """
        accumulators = self._accumulators.get(self._leaders.get(projection.name, ""))
        if accumulators is None:
            accumulators = self._of_unit_vectors(projection)
        values = {name: accumulator.value() for name, accumulator in accumulators.items()}
        for name, value in values.items():
            if not bool(value.isfinite().all()):
                raise EspalierError(
                    f"The inputs of {projection.name} are not finite (statistic {name}): "
                    "the model overflows in this dtype or its weights are damaged; try --dtype float32."
                )
        return values

    def tokens(self, projection: Projection) -> int:
        """How many tokens a projection was given, padding not counted."""
        return self._tokens.get(self._leaders.get(projection.name, ""), 0)

    @property
    def distinct_inputs(self) -> int:
        """How many different inputs were seen."""
        return len(self._accumulators)

    def _of_unit_vectors(self, projection: Projection) -> dict[str, Accumulator]:
        if projection.expert is None:
            raise EspalierError(f"No calibration token reached {projection.name}: use more --samples or other text.")
        if not any(self.tokens(other) for other in self._projections if other.module is projection.module):
            raise EspalierError(
                f"The inputs of {projection.name} and of all experts beside it were not seen: "
                f"{type(projection.module).__name__} runs them in a way that is not known; use --method magnitude."
            )
        accumulators = self._new_accumulators(projection.columns, projection.weight.device)
        for accumulator in accumulators.values():
            accumulator.add(torch.eye(projection.columns, device=projection.weight.device))
        return accumulators

    def _new_accumulators(self, columns: int, device: torch.device) -> dict[str, Accumulator]:
        return {name: INPUT_STATISTICS[name](columns, device) for name in self._needs}

    def _hook(self, projection: Projection):
        def observe(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
            inputs = args[0] if args else next(iter(kwargs.values()))
            leader = next((name for tensor, name in self._seen if tensor is inputs), projection.name)
            if self._leaders.setdefault(projection.name, leader) != leader:
                raise EspalierError(f"{projection.name} shares its input in some passes only, which is not supported.")
            if leader == projection.name:
                self._seen.append((inputs, leader))
                tokens = inputs.detach().reshape(-1, inputs.shape[-1])
                self._take(leader, tokens if self._mask is None else tokens[self._mask.to(tokens.device)])
            if self._ending and self._begun > 1 and len(self._seen) == len(self._accumulators):
                raise SeenEnough

        return observe

    def _take_expert(self, projection: Projection, inputs: torch.Tensor) -> None:
        if self._mask is not None:
            raise EspalierError("Experts were given padding among the tokens: make batches of windows of one length.")
        self._leaders[projection.name] = projection.name
        self._take(projection.name, inputs.reshape(-1, projection.columns))

    def _take(self, leader: str, tokens: torch.Tensor) -> None:
        if leader not in self._accumulators:
            self._accumulators[leader] = self._new_accumulators(tokens.shape[-1], tokens.device)
        self._tokens[leader] = self._tokens.get(leader, 0) + len(tokens)
        for part in tokens.split(TOKENS_AT_ONCE):
            for accumulator in self._accumulators[leader].values():
                accumulator.add(part)


class BlockCosines:
    """The mean over tokens of the cosine between a block's input and its output, per block."""

    def __init__(self, blocks: int):
        self._sums = torch.zeros(blocks, dtype=torch.float64)
        self._tokens = torch.zeros(blocks, dtype=torch.float64)

    def add(self, index: int, given: torch.Tensor, output: torch.Tensor, mask: torch.Tensor) -> None:
        """Takes a block's input and output [B, T, hidden]; only tokens where `mask` [B, T] is True count."""
        cosines = torch.cosine_similarity(given[mask].float(), output[mask].float(), dim=-1)
        self._sums[index] += cosines.sum(dtype=torch.float64).cpu()
        self._tokens[index] += cosines.numel()

    def value(self) -> Mapping[str, torch.Tensor]:
        """`block_cosines`, fp64 [L]. EspalierError if one is not finite."""
        cosines = self._sums / self._tokens
        broken = (~cosines.isfinite()).nonzero().flatten().tolist()
        if broken:
            raise EspalierError(
                f"The hidden states of block {broken[0]} are not finite: "
                "the model overflows in this dtype or its weights are damaged; try --dtype float32."
            )
        return {"block_cosines": cosines}
