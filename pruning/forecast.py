"""What a pruning will take, told before it runs: memory by its parts, and time from a short run of the first block."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from models.memory import parameter_bytes
from pruning.adaptation.matching import STREAMS, matching_bytes
from pruning.anatomy.roles import find_anatomy
from pruning.calibrating.windows import Windows, window_length
from pruning.collect.blockwise import Batch
from pruning.collect.gradients import TOKENS_AT_ONCE
from pruning.collect.statistics import InputStatistics
from pruning.config import PruningConfig
from pruning.job import Job
from pruning.numerics.mask_rule import MaskRule
from pruning.plan import Plan
from pruning.recovering import Recovery
from pruning.structures.none import solve

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Forecast:
    """Bytes and seconds to expect of a pruning, without loading and saving.

    statistics_bytes: those of the first block, twice: as they are collected, and again as the solver works on them;
    and gradients, if the method reads any, of all blocks; where the dense stream is matched, the dense block as well.
    activation_bytes: the hidden states of all calibration windows between two blocks; where gradients are taken, those
    of a part of the windows between all blocks, in fp32, if they are more.
    recovery_bytes: what a recovery keeps of the dense model and of its training.
    """

    model_bytes: int
    statistics_bytes: int
    recovery_bytes: int
    activation_bytes: int
    activations: str
    seconds: float

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory in all; activations on disk take none."""
        waiting = self.activation_bytes if self.activations == "cpu" else 0
        return self.model_bytes + self.statistics_bytes + self.recovery_bytes + waiting

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

    One window of random tokens is sent through the first block and timed (through all, and back, for a method that
    reads gradients), and one projection of each shape in the first block is solved; the rest is multiplication. Whole
    blocks are taken out in no time: scoring them was the work.
    """
    length = window_length(model, config.sequence_length)
    job = Job(model, find_anatomy(model), config, read_windows=lambda: _random_window(model, length), device=device)
    seconds, statistics, gradients = 0.0, {}, {}
    streams = 1 if config.match == "none" else STREAMS
    if plan.dropped:
        began = time.perf_counter()
        job.take_gradients(job.method.needs)
        gradients = job.gradients
        seconds = config.samples * (time.perf_counter() - began)
        if job.needs:
            window_seconds, statistics = _first_block(job)
            seconds += streams * config.samples * len(job.anatomy.blocks) * window_seconds
        seconds += _solving_seconds(job, plan, statistics)
    recovery = Recovery(job).cost(config.samples * length if plan.dropped else 0)
    if recovery.tokens:
        minutes = config.recover_minutes
        if minutes is None:
            seconds += recovery.tokens / length * len(job.anatomy.blocks) * _window_seconds(job)
        else:
            seconds += 60 * minutes
    size = length * model.config.get_text_config().hidden_size  # of one window's hidden states
    hidden = streams * config.samples * size * next(model.parameters()).element_size() if statistics or gradients else 0
    if gradients:
        at_once = min(max(TOKENS_AT_ONCE // length, 1), config.samples)
        hidden = max(hidden, at_once * size * 4 * len(job.anatomy.blocks))
    return Forecast(
        model_bytes=parameter_bytes(model),
        statistics_bytes=2 * _bytes(statistics) + _bytes(gradients) + (matching_bytes(job) if streams > 1 else 0),
        recovery_bytes=recovery.bytes if recovery.tokens else 0,
        activation_bytes=hidden,
        activations=activations,
        seconds=seconds,
    )


def _random_window(model: PreTrainedModel, length: int) -> Windows:
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.randint(vocabulary, (1, length), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool))
    return Windows((batch,), "random tokens", asked=1, windows=1, tokens=length, sequence_length=length, seed=0)


def _first_block(job: Job) -> tuple[float, dict[str, dict[str, torch.Tensor]]]:
    """The seconds that one window takes in the first block, and the statistics it gives of each projection's input."""
    projections = job.anatomy.of_block(0)
    with job.walk() as walk:
        for _ in range(2):  # the first time libraries set themselves up
            statistics = InputStatistics(projections, job.needs)
            began = time.perf_counter()
            with statistics:
                walk.run(0, before=statistics.begin)
            walk.advance(0)
            seconds = time.perf_counter() - began  # the hidden state has come to the CPU: nothing is under way
        return seconds, {projection.name: statistics.of(projection) for projection in projections}


def _window_seconds(job: Job) -> float:
    """The seconds that one window takes in the first block."""
    with job.walk() as walk:
        for _ in range(2):  # the first time libraries set themselves up
            began = time.perf_counter()
            walk.advance(0)
            seconds = time.perf_counter() - began
        return seconds


@torch.no_grad()
def _solving_seconds(job: Job, plan: Plan, statistics: dict[str, dict[str, torch.Tensor]]) -> float:
    counts = Counter((entry.rows, entry.columns) for entry in plan.projections)
    examples = {(entry.rows, entry.columns): entry for entry in reversed(plan.projections) if entry.block == 0}
    projections = {projection.name: projection for projection in job.anatomy.of_block(0)}
    seconds = 0.0
    for shape, entry in examples.items():
        projection = projections[entry.name]
        target = MaskRule(job.config.parsed_pattern(), entry.sparsity, job.method.group)
        known = statistics.get(entry.name, {}) | job.gradients_of(projection, job.method.needs)
        began = time.perf_counter()
        solution = solve(job, projection.weight.float(), target, known)
        solution.weight.to("cpu")
        seconds += counts[shape] * (time.perf_counter() - began)
    return seconds


def _bytes(tables: dict[str, dict[str, torch.Tensor]]) -> int:
    tensors = {id(tensor): tensor.nbytes for table in tables.values() for tensor in table.values()}
    return sum(tensors.values())
