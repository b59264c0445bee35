"""Shares the sparsity out among the projections: by the shapes alone, or by a walk over the dense model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from pruning.anatomy.roles import Projection
from pruning.collect.gradients import GRADIENT_STATISTICS
from pruning.collect.statistics import InputStatistics
from pruning.job import Job
from pruning.numerics.histogram import histogram, lowest
from pruning.registry import find

Measure = Callable[[torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor]
Visit = Callable[[Projection, Mapping[str, torch.Tensor]], Any]


def shares(job: Job) -> dict[str, float]:
    """The sparsity of every projection by its name, as the pattern or the allocation of `job.config` shares it out.

    With the uniform allocation every row, layer or block rounds for itself, as published. With any other the weights
    dropped add up to the sparsity of the whole, to within half of the largest unit in which a projection drops them.
    """
    config, projections = job.config, job.anatomy.projections
    pattern = config.parsed_pattern()
    allocation = find("allocation", config.allocation)
    if pattern.across_layers:
        wanted = _by_all_scores(job)
    elif allocation.name == "uniform":
        return allocation.implementation(projections, config.sparsity, {})
    else:
        measures = take_measures(job, allocation.measure, allocation.needs) if allocation.measure else {}
        wanted = allocation.implementation(projections, config.sparsity, measures)
    units = {entry.name: pattern.unit(entry.rows, job.method.group) for entry in projections}
    return settle(sizes(projections), wanted, config.sparsity, units)


def take_measures(job: Job, measure: Measure, needs: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """What `measure(weight, statistics)` gives of every projection of the dense model, by name."""
    return visit_dense(job, needs, lambda entry, statistics: measure(entry.weight.float(), statistics))


@torch.no_grad()
def visit_dense(job: Job, needs: tuple[str, ...], visit: Visit) -> dict[str, Any]:
    """What `visit(projection, statistics)` gives of every projection of the dense model, by name.

    Only one block's statistics exist at a time; the model is not changed, and without `needs` no text is read.
    """
    job.take_gradients(needs)
    inputs = [need for need in needs if need not in GRADIENT_STATISTICS]
    if not inputs:
        return {entry.name: visit(entry, job.gradients_of(entry, needs)) for entry in job.anatomy.projections}
    found = {}
    count = len(job.anatomy.blocks)
    with job.walk() as walk:
        for index in range(count):
            projections = job.anatomy.of_block(index)
            statistics = InputStatistics(projections, inputs)
            with statistics:
                walk.advance(index, before=statistics.begin, tick=job.stage(index, count, "Measuring block"))
            for entry in projections:
                found[entry.name] = visit(entry, statistics.of(entry) | job.gradients_of(entry, needs))
    return found


def sizes(projections: Sequence[Projection]) -> dict[str, int]:
    """How many weights each projection has."""
    return {entry.name: entry.rows * entry.columns for entry in projections}


def settle(
    sizes: Mapping[str, int], wanted: Mapping[str, float], sparsity: float, units: Mapping[str, int]
) -> dict[str, float]:
    """The `wanted` sparsities as ones that can be: whole units, none empty, in sum the `sparsity` of all weights.

    All are raised or lowered by one number, as far as each can go, until they add up; then each is rounded down and
    those that lost most are rounded up, so that the sum is met to within half of the largest unit. If even one unit
    left in each projection is not sparse enough, that is what they get.
    """
    highest = {name: 1 - units[name] / size for name, size in sizes.items()}
    total = sparsity * sum(sizes.values())
    low, high = -max(wanted.values()), 1 - min(wanted.values())
    for _ in range(80):  # the sum rises with the shift, piece by piece linearly: halve until fp64 cannot
        shift = (low + high) / 2
        reached = sum(size * _within(wanted[name] + shift, highest[name]) for name, size in sizes.items())
        low, high = (shift, high) if reached < total else (low, shift)
    ideal = {name: size * _within(wanted[name] + high, highest[name]) for name, size in sizes.items()}
    counts = {name: units[name] * int(ideal[name] / units[name] + 1e-9) for name in sizes}
    missing = total - sum(counts.values())
    for name in sorted(sizes, key=lambda name: (ideal[name] - counts[name]) / units[name], reverse=True):
        if missing >= units[name] / 2 and counts[name] + 2 * units[name] <= sizes[name]:
            counts[name] += units[name]
            missing -= units[name]
    return {name: counts[name] / size for name, size in sizes.items()}


def _within(share: float, highest: float) -> float:
    return min(max(share, 0.0), highest)


def _by_all_scores(job: Job) -> dict[str, float]:
    """Each projection's part of the lowest scores of the whole dense model."""

    def count(weight: torch.Tensor, statistics: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return histogram(job.method.implementation(weight, statistics))

    size = sizes(job.anatomy.projections)
    taken = lowest(take_measures(job, count, job.method.needs), round(job.config.sparsity * sum(size.values())))
    return {name: taken[name] / size[name] for name in size}
