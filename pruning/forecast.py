"""What a pruning will take, told before it runs: memory by its parts, and time from a short run of the first block."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from models.memory import parameter_bytes
from pruning.blockwise import Batch
from pruning.config import PruningConfig
from pruning.job import Job
from pruning.plan import Plan
from pruning.roles import find_anatomy
from pruning.statistics import InputStatistics
from pruning.structures.none import solve
from pruning.target import Target
from pruning.windows import window_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Forecast:
    """Bytes and seconds to expect of a pruning, without loading and saving.

    statistics_bytes: those of the first block, twice: as they are collected, and again as the solver works on them.
    activation_bytes: the hidden states of all calibration windows between two blocks.
    """

    model_bytes: int
    statistics_bytes: int
    activation_bytes: int
    activations: str
    seconds: float

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory in all; activations on disk take none."""
        return self.model_bytes + self.statistics_bytes + (self.activation_bytes if self.activations == "cpu" else 0)

    def as_dict(self) -> dict:
        """The forecast as JSON types."""
        return asdict(self) | {"memory_bytes": self.memory_bytes}


def forecast(
    model: PreTrainedModel,
    config: PruningConfig,
    plan: Plan,
    activations: str = "cpu",
    device: torch.device | None = None,
) -> Forecast:
    """What carrying out `plan` will take; the model is not changed, and no calibration text is read.

    One window of random tokens is sent through the first block and timed, and one projection of each shape in it is
    solved; the rest is multiplication. Whole blocks are taken out in no time: scoring them was the work.
    """
    anatomy = find_anatomy(model)
    job = Job(model, anatomy, config, read_windows=lambda: None, device=device)
    text_is_read = bool(plan.dropped and job.needs)
    length = window_length(model, config.sequence_length)
    window_seconds, statistics = _first_block(job, length) if text_is_read else (0.0, {})
    hidden = length * model.config.get_text_config().hidden_size * next(model.parameters()).element_size()
    return Forecast(
        model_bytes=parameter_bytes(model),
        statistics_bytes=2 * _bytes(statistics),
        activation_bytes=config.samples * hidden if text_is_read else 0,
        activations=activations,
        seconds=config.samples * len(anatomy.blocks) * window_seconds + _solving_seconds(job, plan, statistics),
    )


def _first_block(job: Job, length: int) -> tuple[float, dict[str, dict[str, torch.Tensor]]]:
    """The seconds that one window takes in the first block, and the statistics it gives of each projection's input."""
    vocabulary = job.model.config.get_text_config().vocab_size
    ids = torch.randint(vocabulary, (1, length), generator=torch.Generator().manual_seed(0))
    projections = job.anatomy.of_block(0)
    with job.walk([Batch(ids, torch.ones_like(ids, dtype=torch.bool))]) as walk:
        for _ in range(2):  # the first time libraries set themselves up
            statistics = InputStatistics(projections, job.needs)
            began = time.perf_counter()
            with statistics:
                walk.run(0, before=statistics.begin)
            walk.advance(0)
            seconds = time.perf_counter() - began  # the hidden state has come to the CPU: nothing is under way
        return seconds, {projection.name: statistics.of(projection) for projection in projections}


@torch.no_grad()
def _solving_seconds(job: Job, plan: Plan, statistics: dict[str, dict[str, torch.Tensor]]) -> float:
    if not plan.dropped:
        return 0.0
    counts = Counter((entry.rows, entry.columns) for entry in plan.projections)
    examples = {(entry.rows, entry.columns): entry for entry in reversed(plan.projections) if entry.block == 0}
    weights = {projection.name: projection.weight for projection in job.anatomy.of_block(0)}
    seconds = 0.0
    for shape, entry in examples.items():
        target = Target(job.config.parsed_pattern(), entry.sparsity, job.method.group)
        began = time.perf_counter()
        solution = solve(job, weights[entry.name].float(), target, statistics.get(entry.name, {}))
        solution.weight.to("cpu")
        seconds += counts[shape] * (time.perf_counter() - began)
    return seconds


def _bytes(statistics: dict[str, dict[str, torch.Tensor]]) -> int:
    tensors = {id(tensor): tensor.nbytes for values in statistics.values() for tensor in values.values()}
    return sum(tensors.values())
