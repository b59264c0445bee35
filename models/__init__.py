"""The ground floor: load any decoder language model, describe it, and let it write.

from models import load
model, tokenizer, description = load("embedded")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.description import Description
    from models.loading import Loaded, load

__all__ = ["Description", "Loaded", "load"]


def __getattr__(name: str):
    # Lazily, so that `python -m pruning --help` does not wait for torch and transformers.
    if name in ("Loaded", "load"):
        from models import loading

        return getattr(loading, name)
    if name == "Description":
        from models.description import Description

        return Description
    raise AttributeError(f"module 'models' has no attribute {name!r}")
