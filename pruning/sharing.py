"""Shares the sparsity out among the projections: by the shapes alone, or by a walk over the dense model."""

import torch

from pruning.blockwise import BlockWalk
from pruning.job import Job
from pruning.registry import find
from pruning.statistics import InputStatistics


def shares(job: Job) -> dict[str, float]:
    """The sparsity of every projection by its name, as the allocation of `job.config` shares it out."""
    allocation = find("allocation", job.config.allocation)
    measures = take_measures(job, allocation.measure, allocation.needs) if allocation.measure else {}
    return allocation.implementation(job.anatomy.projections, job.config.sparsity, measures)


@torch.no_grad()
def take_measures(job: Job, measure, needs: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """What `measure(weight, statistics)` gives of every projection of the dense model, by name.

    Only one block's statistics exist at a time; the model is not changed.
    """
    measures = {}
    count = len(job.anatomy.blocks)
    with BlockWalk(job.model, job.anatomy.blocks, job.windows.batches) as walk:
        for index in range(count):
            projections = job.anatomy.of_block(index)
            statistics = InputStatistics(projections, needs)
            with statistics:
                walk.advance(index, before=statistics.begin, tick=job.stage(index, count, "Measuring block"))
            for projection in projections:
                measures[projection.name] = measure(projection.weight, statistics.of(projection))
    return measures
