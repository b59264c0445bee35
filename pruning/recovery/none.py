"""No recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pruning.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@register("recover", "none")
def none(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """The pruned model is left as pruning made it."""
