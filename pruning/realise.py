"""Makes a plan true: a shallower model of the same kind, in the form that stock transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from pruning.roles import Anatomy, per_block_lists, renumber

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def remove_blocks(model: PreTrainedModel, anatomy: Anatomy, kept: Sequence[int]) -> Callable[[], None]:
    """Leaves only the blocks of the indices `kept`, in place, and tells the configuration and the blocks.

    Afterwards the model generates with a key-value cache as without, and saves as an ordinary shallower model.
    Returns what puts the blocks back.
    """
    lists = per_block_lists(model.config.get_text_config())
    sliced = {name: [items[index] for index in kept] for name, items in lists.items()}
    _install(model, anatomy, nn.ModuleList(anatomy.blocks[index] for index in kept), sliced)
    return lambda: _install(model, anatomy, anatomy.blocks, lists)


def _install(model: PreTrainedModel, anatomy: Anatomy, blocks: nn.ModuleList, lists: dict[str, list]) -> None:
    holder, _, name = anatomy.path.rpartition(".")
    setattr(model.get_submodule(holder), name, blocks)
    for place, block in enumerate(blocks):
        renumber(block, place)
    config = model.config.get_text_config()
    config.num_hidden_layers = len(blocks)
    for entry, items in lists.items():
        setattr(config, entry, items)
