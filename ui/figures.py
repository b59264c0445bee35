"""The figures of the strip: what a pruned model has become beside its dense one."""

from typing import TYPE_CHECKING

from evals.measurement import Measurement
from models import Loaded
from models.console.progress import Progress, part, silent
from models.console.stopping import interruptible, stop_asked
from ui.background.shelf import Shelf
from ui.engine import Change
from ui.plain_words import without_options

if TYPE_CHECKING:
    from evals.text_losses.perplexity import Scored
    from pruning.report import Report


WINDOWS, LONGEST = 12, 512  # of the small text, in tokens: enough for the paired ratio, and soon there
SPEED = dict(prompt_tokens=16, new_tokens=16, repeats=5)  # of the short race; the fair race is for more


class Figures:
    """Measures changes. The dense models' scores on the text are kept, since every twin needs them again."""

    def __init__(self) -> None:
        self._scored: Shelf[Scored] = Shelf(places=4)

    def change(
        self, dense: Loaded, pruned: Loaded, report: "Report | None", progress: Progress | None = None
    ) -> Change:
        """Counts both models, scores both on the same windows of the small text and times both (0 to 1 of `progress`).

        `report` is the pruner's own, which knows best what was saved; None for a model that was pruned elsewhere.
        """
        from evals.cost.memory import measure
        from evals.cost.speed import race
        from evals.texts import prose
        from pruning.packing.fast_path import slow_path

        shown = progress or silent
        perplexity, ratio = self.perplexity(dense, pruned, part(shown, 0.0, 0.8))
        with interruptible():
            footprints = (measure(dense.model), measure(pruned.model))
        contenders = [(name, each.model, each.tokenizer) for name, each in (("dense", dense), ("pruned", pruned))]
        lanes = race(contenders, prose(), progress=part(shown, 0.8, 1.0), stop=stop_asked, **SPEED).lanes
        parameters, nonzero, sizes = (
            tuple(getattr(footprint, name) for footprint in footprints)
            for name in ("parameters", "nonzero_parameters", "bytes_in_memory")
        )
        return Change(
            parameters=parameters,
            nonzero=nonzero,
            bytes=sizes,
            perplexity=perplexity,
            perplexity_ratio=ratio,
            speed=(lanes[0].decode_rate, lanes[1].decode_rate),
            speedup=lanes[1].speedups["decode_speedup"],
            saves_memory=report.saves_memory if report else sizes[1] < sizes[0],
            saves_time=report.saves_time if report else parameters[1] < parameters[0],
            note=without_options(report.note) if report else "",
            slow_path=without_options(slow_path(pruned.model)),
            warnings=tuple(map(without_options, warnings_of(report))) if report else (),
        )

    def perplexity(
        self, dense: Loaded, pruned: Loaded, progress: Progress | None = None
    ) -> tuple[tuple[Measurement, Measurement], Measurement]:
        """The perplexities of both on the same windows of the small text, and pruned over dense."""
        from evals.text_losses.perplexity import compare, score, summarise
        from evals.texts import prose

        key = f"{dense.description.id} {dense.description.revision}"
        length = min(LONGEST, dense.description.context)
        before = self._scored.get(key)
        with interruptible():
            if before is None:
                before = score(dense, prose(), length=length, most=WINDOWS, progress=part(progress, 0.0, 0.5))
                self._scored.put(key, before)
            after = score(pruned, prose(), length=length, most=WINDOWS, progress=part(progress, 0.5, 1.0))
        ratio = next(m for m in compare(before, after) if m.metric == "perplexity_ratio")
        return (summarise(before)[0], summarise(after)[0]), ratio


def warnings_of(report: "Report") -> list[str]:
    """What the pruner found worth saying, and what the packer left as it was."""
    left = report.packing.left if report.packing else ()
    return [*report.warnings, *([f"Not packed: {', '.join(left)}."] if left else [])]
