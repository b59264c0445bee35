"""What a run gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models import Loaded
from pruning.report import Report
from pruning.running.recipe import Recipe


@dataclass(frozen=True)
class Artifact:
    """The pruned model, the report of what was done, the recipe, and the folder it was saved to (None: in memory only).

    `loaded.description` is the dense model's. Where the folder was finished before, there is no report but its `record`
    (`pruning.json`), and `loaded` is the dense model.
    """

    loaded: Loaded
    report: Report | None
    recipe: Recipe
    folder: Path | None
    record: dict | None = None
