"""`MODEL::FORMAT`: a model that is packed as soon as it is loaded, so that layouts can be compared without files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pruning.packing.format import Format

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_layout(layout: str) -> None:
    """Raises RequestError unless `layout` is a packed format."""
    Format.parse(layout)


def apply_layout(model: PreTrainedModel, layout: str) -> PreTrainedModel:
    """The model in that format, in place; a packed one is unpacked first. RequestError if its weights do not fit."""
    from pruning.packing.install import is_packed, pack, unpack

    if is_packed(model):
        unpack(model)
    pack(model, Format.parse(layout))
    return model
