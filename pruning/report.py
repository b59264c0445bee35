"""What a pruning did, in figures, with a plain sentence on what that saves and what it does not."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from models.console.units import format_bytes, format_percent
from pruning.anatomy.census import Census
from pruning.config import PruningConfig
from pruning.plan import Plan

if TYPE_CHECKING:
    from pruning.packing.install import Packing


@dataclass(frozen=True)
class Report:
    """The settings, the plan, the model before and after, the calibration used (None if no text was read).

    dense_perplexity: of the dense model on the first calibration tokens (None if no text was read). seconds: of the
    pruning, without loading and saving. packing: what packing the result did, if it was packed. recovery: what each
    recovery did, in its own words (`pruning.recovery`).
    """

    config: PruningConfig
    plan: Plan
    before: Census
    after: Census
    calibration: dict | None
    dense_perplexity: float | None
    seconds: float
    warnings: tuple[str, ...] = ()
    packing: Packing | None = None
    recovery: tuple[dict, ...] = ()
    versions: dict[str, str] = field(default_factory=lambda: dict(library_versions()))

    @property
    def saves_memory(self) -> bool:
        """Whether the model takes fewer bytes than before."""
        return self._packed_smaller or self.after.bytes < self.before.bytes

    @property
    def saves_time(self) -> bool:
        """Whether a token takes less: fewer weights are multiplied, or fewer bytes of them are read."""
        return self._packed_smaller or self.after.parameters < self.before.parameters

    @property
    def _packed_smaller(self) -> bool:
        return self.packing is not None and self.packing.packed_bytes < self.packing.dense_bytes

    @property
    def note(self) -> str:
        """What the setting saves and what it does not, in one sentence."""
        if self.packing is not None:
            how = "Packed" if str(self.packing.format) == "auto" else f"Packed as {self.packing.format}"
            return (
                f"{how}: the matrices take {format_bytes(self.packing.packed_bytes)} instead of "
                f"{format_bytes(self.packing.dense_bytes)}, in files and in memory, and as much less is read for every token."
            )
        if self.plan.blocks is not None and self.plan.blocks.removed:
            gone, count = len(self.plan.blocks.removed), self.plan.blocks.count
            return (
                f"{gone} of {count} blocks are gone, which saves {format_bytes(self.before.bytes - self.after.bytes)} "
                f"of memory and about {format_percent(gone / count, 0)} of the time spent in blocks."
            )
        if self.after.nonzero == self.before.nonzero:
            return "Nothing was removed: memory and time stay as they were."
        return "The zeros are stored like any other number: this saves neither memory nor time, on disk or running."

    def as_dict(self) -> dict:
        """The report as JSON types."""
        return {
            "config": self.config.as_dict(),
            "plan": self.plan.as_dict(),
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "sparsity": self.after.sparsity,
            "saves_memory": self.saves_memory,
            "saves_time": self.saves_time,
            "note": self.note,
            "packing": self.packing and self.packing.as_dict(),
            "recovery": list(self.recovery),
            "calibration": self.calibration,
            "dense_perplexity": self.dense_perplexity,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "versions": self.versions,
        }


@cache
def library_versions() -> dict[str, str]:
    """The versions of what computed the result."""
    libraries = {name: metadata.version(name) for name in ("torch", "transformers", "safetensors", "tokenizers")}
    return {"python": platform.python_version(), **libraries}
