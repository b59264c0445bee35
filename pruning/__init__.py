"""Makes a language model smaller: decide what goes, take it out, save the rest, check what was saved.

from pruning import PruningConfig, prune
report = prune(model, tokenizer, PruningConfig(method="wanda", sparsity=0.5))
"""

from typing import TYPE_CHECKING

from models.readers import register_layouts, register_reader

if TYPE_CHECKING:
    from pruning.config import PruningConfig
    from pruning.pipeline import preview, prune, replay

__all__ = ["PruningConfig", "preview", "prune", "replay"]


register_reader("packing.json", "pruning.packing.folder:load_packed")
register_layouts("pruning.packing.layout:check_layout", "pruning.packing.layout:apply_layout")


def __getattr__(name: str):
    # Lazily, so that `python -m pruning --help` does not wait for torch and transformers.
    if name == "PruningConfig":
        from pruning.config import PruningConfig

        return PruningConfig
    if name in ("preview", "prune", "replay"):
        from pruning import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'pruning' has no attribute {name!r}")
