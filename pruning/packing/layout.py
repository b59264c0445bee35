"""`MODEL::LAYOUT`: a model that is packed as soon as it is loaded, so that layouts can be compared without files.

A layout is a packed format, or one of bitsandbytes.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from models.errors import RequestError
from pruning.packing.bits_and_bytes import LAYOUTS, apply_bits_and_bytes
from pruning.packing.format import Format

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_layout(layout: str) -> None:
    """Raises RequestError unless `layout` is a packed format or one of bitsandbytes."""
    if layout in LAYOUTS:
        return
    try:
        Format.parse(layout)
    except RequestError as error:
        raise RequestError(f"{error} {' and '.join(LAYOUTS)} are bitsandbytes'.") from None


def apply_layout(model: PreTrainedModel, layout: str) -> PreTrainedModel:
    """The model in that layout, in place; a packed one is unpacked first. RequestError if its weights do not fit."""
    from pruning.packing.install import is_packed, pack, unpack

    if layout in LAYOUTS:
        return apply_bits_and_bytes(model, layout)
    if is_packed(model):
        unpack(model)
    pack(model, Format.parse(layout))
    return model


def in_layout(model: PreTrainedModel, layout: str) -> PreTrainedModel:
    """A second model, in that layout; the first stays as it is, and what is the same in both is shared.

    Raises as `apply_layout` does.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return apply_layout(copy.deepcopy(model, shared), layout)
