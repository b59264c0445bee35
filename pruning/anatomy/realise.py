"""Makes a plan true: a shallower model of the same kind, in the form that stock transformers loads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from pruning.anatomy.depth import Depth, write_entries
from pruning.anatomy.roles import Anatomy, place_names, renumber

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def remove_blocks(model: PreTrainedModel, anatomy: Anatomy, kept: Sequence[int]) -> Callable[[], None]:
    """Leaves only the blocks of the indices `kept`, in place, and tells the configuration and the blocks.

    Afterwards the model generates with a key-value cache as without, and saves as an ordinary shallower model.
    Returns what puts the blocks back. RequestError, before anything is changed, if no configuration makes that model.
    """
    changed = Depth(model, len(anatomy.blocks)).changes(kept)
    config, places = model.config.get_text_config(), place_names(anatomy.blocks)
    before = copy.deepcopy(vars(config))
    _install(model, anatomy, nn.ModuleList(anatomy.blocks[index] for index in kept), places)
    write_entries(config, changed)

    def put_back() -> None:
        _install(model, anatomy, anatomy.blocks, places)
        vars(config).clear()
        vars(config).update(before)

    return put_back


def _install(model: PreTrainedModel, anatomy: Anatomy, blocks: nn.ModuleList, places: Iterable[str]) -> None:
    holder, _, name = anatomy.path.rpartition(".")
    setattr(model.get_submodule(holder), name, blocks)
    for number, block in enumerate(blocks):
        renumber(block, number, places)
