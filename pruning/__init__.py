"""Makes a language model smaller: decide what goes, take it out, save the rest, check what was saved.

from pruning import PruningConfig, Recipe, run
artifact = run(Recipe(PruningConfig(method="wanda", sparsity=0.5)), "embedded", "pruned")
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pruning.config import PruningConfig
    from pruning.pipeline import preview, prune, replay
    from pruning.running.recipe import Recipe
    from pruning.running.run import run

__all__ = ["PruningConfig", "Recipe", "preview", "prune", "replay", "run"]

HOMES = {
    "PruningConfig": "pruning.config",
    "Recipe": "pruning.running.recipe",
    "run": "pruning.running.run",
    **dict.fromkeys(("preview", "prune", "replay"), "pruning.pipeline"),
}


def __getattr__(name: str):
    # Lazily, so that `python -m pruning --help` does not wait for torch and transformers.
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module 'pruning' has no attribute {name!r}")
