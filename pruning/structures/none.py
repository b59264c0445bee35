"""Single weights become zero; every shape stays as it is."""

import hashlib
from contextlib import nullcontext
from functools import partial

import torch

from models.errors import EspalierError, RequestError
from pruning.blockwise import BlockWalk
from pruning.job import Job
from pruning.plan import Plan, ProjectionPlan
from pruning.registry import find, register
from pruning.roles import Projection
from pruning.statistics import InputStatistics


@register("structure", "none")
class SingleWeights:
    """Single weights become zero and every shape stays: smaller and faster only once packed."""

    def plan(self, job: Job) -> Plan:
        """Counts and rules per projection, from the shapes alone. RequestError where the pattern does not fit."""
        config = job.config
        pattern = config.parsed_pattern()
        misfits = [(entry.name, why) for entry in job.anatomy.projections if (why := pattern.misfit(entry.columns))]
        if misfits:
            name, why = misfits[0]
            raise RequestError(
                f"The pattern {config.pattern} does not fit {len(misfits)} of {len(job.anatomy.projections)} "
                f"projections ({name}: {why}): choose another N:M or unstructured."
            )
        shares = find("allocation", config.allocation).implementation(job.anatomy.projections, config.sparsity)
        projections = tuple(
            self._plan_projection(projection, pattern, shares[projection.name], job.method.group)
            for projection in job.anatomy.projections
        )
        return Plan(config.structure, config.method, config.pattern, config.sparsity, projections)

    def apply(self, job: Job, plan: Plan) -> Plan:
        """Prunes block by block; each block is scored on what the already pruned blocks before it give.

        Raises EspalierError naming the projection if a weight or a statistic is not finite.
        """
        if not plan.dropped:
            return plan
        entries = {entry.name: entry for entry in plan.projections}
        walk = BlockWalk(job.model, job.anatomy.blocks, job.windows.batches) if job.method.needs else None
        count = len(job.anatomy.blocks)
        with walk or nullcontext():
            for index in range(count):
                tick = job.stage(index, count, "Pruning block")
                tick(0.0)
                projections = job.anatomy.of_block(index)
                statistics = InputStatistics(projections, job.method.needs)
                if walk:
                    with statistics:
                        walk.run(index, before=statistics.begin, tick=lambda done: tick(done / 2))
                for projection in projections:
                    values = statistics.of(projection) if walk else {}
                    entries[projection.name] = self._prune(job, projection, entries[projection.name], values)
                if walk and index + 1 < count:
                    walk.advance(index, tick=lambda done: tick(0.5 + done / 2))
        return Plan(plan.structure, plan.method, plan.pattern, plan.sparsity, tuple(entries.values()))

    def _plan_projection(self, projection: Projection, pattern, sparsity: float, group: str) -> ProjectionPlan:
        shape = projection.rows, projection.columns
        size = projection.weight.numel() * projection.weight.element_size()
        return ProjectionPlan(
            name=projection.name,
            block=projection.block,
            role=projection.role,
            rows=projection.rows,
            columns=projection.columns,
            sparsity=sparsity,
            rule=pattern.rule(*shape, sparsity, group),
            dropped=pattern.dropped(*shape, sparsity, group),
            bytes_before=size,
            bytes_after=size,  # a zero is stored like any other number
        )

    @torch.no_grad()
    def _prune(self, job: Job, projection: Projection, entry: ProjectionPlan, statistics: dict) -> ProjectionPlan:
        weight = projection.weight
        if not bool(weight.isfinite().all()):
            raise EspalierError(f"{projection.name} has weights that are not finite: fetch the model again.")
        scores = job.method.implementation(weight, statistics)
        keep = job.config.parsed_pattern().keep(scores, entry.sparsity, job.method.group)
        solved = find("solver", job.config.solver).implementation(weight, keep, statistics)
        if job.undo_steps is not None:
            job.undo_steps.append(partial(weight.copy_, weight.to("cpu", copy=True)))
        weight.copy_(solved)
        norms = statistics.get("column_norms")
        dead = 0 if norms is None else int((norms == 0).sum())
        return entry.chosen(mask_hash(keep), dead)


def mask_hash(keep: torch.Tensor) -> str:
    """SHA-256 of a mask [R, C], one byte per weight, row after row, 1 where it is kept."""
    return hashlib.sha256(keep.to("cpu", torch.uint8).contiguous().numpy()).hexdigest()
