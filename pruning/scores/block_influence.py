"""Block influence: a block that hardly turns the hidden state matters least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("method", "block-influence", structure="layers", needs=("block_cosines",))
def block_influence(statistics: Mapping[str, Tensor]) -> list[float]:
    """How far a block turns the hidden state, 1 - cos(input, output); the blocks that turn it least go.

    `block_cosines` [L]: the mean over tokens of the cosine between a block's input and output -> one score per
    block. Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect" (2024),
    section 3.1.
    """
    return (1 - statistics["block_cosines"]).tolist()
