"""No recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pruning.adaptation.settings import Cost
from pruning.registry import register

if TYPE_CHECKING:
    from models.console.progress import Progress
    from pruning.job import Job


@register("recover", "none")
class NoRecovery:
    """The pruned model is left as pruning made it."""

    def __init__(self, job: Job):
        pass

    def cost(self, tokens: int) -> Cost:
        """Nothing is taken."""
        return Cost(0, 0)

    def begin(self) -> None:
        """Nothing is needed."""

    def run(self, progress: Progress, seconds: float | None) -> None:
        """Nothing is done."""
