"""Whole decoder blocks are taken out; what is left is an ordinary, shallower model."""

import math

from models.errors import RequestError
from pruning.anatomy.depth import Depth
from pruning.anatomy.realise import remove_blocks
from pruning.collect.statistics import BlockCosines
from pruning.job import Job
from pruning.plan import BlockPlan, Plan
from pruning.registry import register


@register("structure", "layers")
class Layers:
    """Whole decoder blocks go, never the first or the last: saves memory and time at once."""

    def plan(self, job: Job) -> Plan:
        """Scores every block of the dense model on the calibration text and picks those that go, in one shot.

        RequestError, before any text is read, if the sparsity rounds to no block at all, leaves fewer than the first
        and the last, or comes to a model that no configuration describes. Where one describes only some choices, the
        best of those is taken, and `job.warnings` says so.
        """
        config, blocks = job.config, job.anatomy.blocks
        count = len(blocks)
        going = blocks_to_remove(count, config.sparsity)
        kept, scores = tuple(range(count)), []
        if going:
            depth = Depth(job.model, count)
            depth.require(going)
            scores = self._scores(job)
            kept, lowest = depth.choose(scores, going)
            if not lowest:
                job.warnings.append(
                    "Not the blocks of least influence went: the configuration places kinds of blocks by a rule, "
                    "which only other choices keep to."
                )
        sizes = [sum(job.stored_bytes(parameter) for parameter in block.parameters()) for block in blocks]
        return Plan(
            structure=config.structure,
            method=config.method,
            pattern=config.pattern,
            sparsity=config.sparsity,
            blocks=BlockPlan(
                count=count,
                kept=kept,
                scores=tuple(scores),
                bytes_before=sum(sizes),
                bytes_after=sum(sizes[index] for index in kept),
            ),
        )

    def apply(self, job: Job, plan: Plan) -> Plan:
        """Takes the blocks out."""
        job.progress(0.99, "Removing blocks")
        put_back = remove_blocks(job.model, job.anatomy, plan.blocks.kept)
        if job.undo_steps is not None:
            job.undo_steps.append(put_back)
        return plan

    def _scores(self, job: Job) -> list[float]:
        count = len(job.anatomy.blocks)
        cosines = BlockCosines(count)
        with job.walk() as walk:
            for index in range(count):
                tick = job.stage(index, count, "Scoring block")
                walk.advance(index, observe=lambda *seen, index=index: cosines.add(index, *seen), tick=tick)
        return job.method.implementation(cosines.value())


def blocks_to_remove(count: int, sparsity: float) -> int:
    """How many of `count` blocks a sparsity means, rounded half up. RequestError if that is none or too many."""
    going = math.floor(count * sparsity + 0.5)
    if sparsity and not going:
        raise RequestError(
            f"A sparsity of {sparsity:g} of {count} blocks rounds to none: ask for at least {0.5 / count:.3f}."
        )
    if going > max(count - 2, 0):
        raise RequestError(
            f"A sparsity of {sparsity:g} would take {going} of {count} blocks, and the first and the last always stay: "
            f"ask for at most {max(count - 2, 0) / count:.3f}."
        )
    return going
