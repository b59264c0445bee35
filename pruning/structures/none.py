"""Single weights become zero; every shape stays as it is."""

import hashlib
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain

import torch

from models.errors import EspalierError, RequestError
from pruning.adaptation.matching import MatchedBlock, Matching, check_matching
from pruning.anatomy.roles import Projection
from pruning.collect.blockwise import BlockWalk
from pruning.collect.statistics import InputStatistics
from pruning.job import Job
from pruning.numerics.layer_problem import LayerProblem, Solution
from pruning.numerics.mask_rule import MaskRule
from pruning.numerics.permutation import find_orders, reorder
from pruning.plan import Plan, ProjectionPlan
from pruning.registry import find, register
from pruning.sharing import shares


@register("structure", "none")
class WeightPruning:
    """Single weights become zero and every shape stays: smaller and faster only once packed."""

    def plan(self, job: Job) -> Plan:
        """Counts and rules per projection. RequestError where the pattern does not fit."""
        config = job.config
        if config.match != "none":
            check_matching(job)
        pattern = config.parsed_pattern()
        shapes = {entry.name: (entry.rows, entry.columns) for entry in job.anatomy.projections}
        misfits = [(name, why) for name, shape in shapes.items() if (why := pattern.misfit(*shape))]
        if misfits:
            name, why = misfits[0]
            raise RequestError(
                f"The pattern {config.pattern} does not fit {len(misfits)} of {len(shapes)} "
                f"projections ({name}: {why}): choose another pattern, such as unstructured."
            )
        share = shares(job)
        orders = find_orders(job, pattern) if pattern.permuted else {}
        projections = tuple(
            self._plan_projection(
                job,
                projection,
                MaskRule(pattern, share[projection.name], job.method.group),
                orders.get(projection.name, ()),
            )
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
        reorder(job, {entry.name: entry.order for entry in plan.projections if entry.order})
        job.take_gradients(job.method.needs)  # before anything goes
        if job.config.match != "none":
            self._apply_matched(job, entries)
            return self._done(plan, entries)
        walk = job.walk() if job.needs else None
        count = len(job.anatomy.blocks)
        with walk or nullcontext():
            for index in range(count):
                tick = job.stage(index, count, "Pruning block")
                tick(0.0)
                for entry in self._block(job, index, entries, walk, tick):
                    entries[entry.name] = entry
                if walk and index + 1 < count:
                    walk.advance(index, tick=lambda done, tick=tick: tick(0.5 + done / 2))
        return self._done(plan, entries)

    def _done(self, plan: Plan, entries: dict[str, ProjectionPlan]) -> Plan:
        return Plan(plan.structure, plan.method, plan.pattern, plan.sparsity, tuple(entries.values()))

    def _apply_matched(self, job: Job, entries: dict[str, ProjectionPlan]) -> None:
        """Prunes part by part, every projection towards what brings the pruned stream to the dense one."""
        count = len(job.anatomy.blocks)
        with Matching(job) as matching:
            for index in range(count):
                tick = job.stage(index, count, "Pruning block")
                tick(0.0)
                with matching.block(index) as block:
                    for entry in self._matched_block(job, index, entries, block, tick):
                        entries[entry.name] = entry

    def _matched_block(
        self, job: Job, index: int, entries: dict[str, ProjectionPlan], block: MatchedBlock, tick
    ) -> list[ProjectionPlan]:
        projections = job.anatomy.of_block(index)
        if job.checkpoint and (done := job.checkpoint.restore(index, projections)) is not None:
            return done
        chosen: dict[str, ProjectionPlan] = {}
        with closing(block.aims(tick)) as found:
            for aim in chain.from_iterable(found):
                projection = aim.projection
                statistics = aim.statistics | job.gradients_of(projection, job.method.needs)
                entry = replace(entries[projection.name], tokens=aim.tokens)
                chosen[projection.name] = self._prune(job, projection, entry, statistics, aim.weight)
        if missing := [each.name for each in projections if each.name not in chosen]:
            raise EspalierError(f"No calibration token reached {missing[0]}: use more --samples, or omit --match.")
        done = [chosen[each.name] for each in projections]
        if job.checkpoint:
            job.checkpoint.store(projections, done)
        return done

    def _plan_projection(
        self, job: Job, projection: Projection, target: MaskRule, order: tuple[int, ...]
    ) -> ProjectionPlan:
        shape = projection.rows, projection.columns
        size = projection.weight.numel() * job.stored_dtype(projection.parameter).itemsize
        return ProjectionPlan(
            name=projection.name,
            block=projection.block,
            role=projection.role,
            rows=projection.rows,
            columns=projection.columns,
            sparsity=target.sparsity,
            rule=target.rule(*shape) + (", reordered" if order else ""),
            dropped=target.dropped(*shape),
            bytes_before=size,
            bytes_after=size,  # a zero is stored like any other number
            order=order,
        )

    def _block(
        self, job: Job, index: int, entries: dict[str, ProjectionPlan], walk: BlockWalk | None, tick
    ) -> list[ProjectionPlan]:
        """Prunes one block, or puts back what an earlier run made of it."""
        projections = job.anatomy.of_block(index)
        if job.checkpoint and (done := job.checkpoint.restore(index, projections)) is not None:
            return done
        statistics = InputStatistics(projections, job.needs, ending=True)
        if walk:
            with statistics:
                walk.run(index, before=statistics.begin, tick=lambda done: tick(done / 2))
            for projection in projections:
                entries[projection.name] = replace(entries[projection.name], tokens=statistics.tokens(projection))
        chosen = [
            self._prune(
                job,
                projection,
                entries[projection.name],
                (statistics.of(projection) if walk else {}) | job.gradients_of(projection, job.method.needs),
            )
            for projection in projections
        ]
        if job.checkpoint:
            job.checkpoint.store(projections, chosen)
        return chosen

    @torch.no_grad()
    def _prune(
        self,
        job: Job,
        projection: Projection,
        entry: ProjectionPlan,
        statistics: dict,
        aim: torch.Tensor | None = None,
    ) -> ProjectionPlan:
        """Prunes one projection; towards the weight `aim` [R, C], fp32, where it is not its own."""
        weight = projection.weight
        if not bool(weight.isfinite().all()):
            raise EspalierError(f"{projection.name} has weights that are not finite: fetch the model again.")
        target = MaskRule(job.config.parsed_pattern(), entry.sparsity, job.method.group)
        # What is zero in the dense model stays so, whatever is aimed at.
        wanted = weight.float() if aim is None else aim * (weight != 0)
        solution = solve(job, wanted, target, statistics)
        if job.undo_steps is not None:
            job.undo_steps.append(partial(put_back, projection, weight.to("cpu", copy=True)))
        error = relative_error(wanted, solution.weight, statistics.get("gram"))
        # Rounded here, so that what comes after is computed with the numbers that are saved.
        weight.copy_(solution.weight.to(job.stored_dtype(projection.parameter)))
        norms = statistics.get("column_norms")
        dead = 0 if norms is None else int((norms == 0).sum())
        return entry.chosen(mask_hash(solution.keep), dead, error, solution.warnings)


def put_back(projection: Projection, dense: torch.Tensor) -> None:
    """Gives a projection its dense weight [R, C] again, wherever the module is by now."""
    projection.weight.copy_(dense)


def solve(job: Job, weight: torch.Tensor, target: MaskRule, statistics: dict) -> Solution:
    """Scores and solves one projection [R, C], step by step as the schedule says.

    Every step scores the weights as the last one left them, what that dropped lying below all the rest, and solves
    for the dense weights again, so that errors do not add up.
    """
    steps = find("schedule", job.config.schedule).implementation(target.sparsity)
    solution = Solution(weight, torch.ones_like(weight, dtype=torch.bool))
    for sparsity in steps:
        chooses = job.config.method in job.solver.chooses
        scores = weight.new_zeros(weight.shape) if chooses else job.method.implementation(solution.weight, statistics)
        # Zeros of the dense model have not gone in a step: they count as they score, and no solver takes them back.
        scores = scores.masked_fill(~solution.keep & (weight != 0), -torch.inf)
        problem = LayerProblem(weight, scores, target.at(sparsity), statistics, job.config.method)
        solution = job.solver.implementation(problem)
    return solution


def relative_error(dense: torch.Tensor, pruned: torch.Tensor, gram: torch.Tensor | None) -> float | None:
    """||X (W - V)^T||^2 / ||X W^T||^2 for weights [R, C] and the Gram matrix [C, C] of the inputs X; None without it."""
    if gram is None:
        return None
    lost, whole = (float((matrix @ gram).mul(matrix).sum()) for matrix in (dense - pruned, dense))
    return lost / whole if whole > 0 else 0.0


def mask_hash(keep: torch.Tensor) -> str:
    """SHA-256 of a mask [R, C], one byte per weight, row after row, 1 where it is kept."""
    return hashlib.sha256(keep.to("cpu", torch.uint8).contiguous().numpy()).hexdigest()
