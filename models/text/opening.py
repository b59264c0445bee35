"""What a window of text begins with: the token that a model takes for the beginning of a text, where it needs one.

A window cut out of the middle of a text has none. Most models read on as if nothing were missing; the Gemma family
was never trained without its BOS, and gives nonsense without it.
"""

from typing import TYPE_CHECKING

from models.text.prompts import leading_tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

NEEDING = "gemma"  # gemma, gemma2, gemma3_text, recurrent_gemma, vaultgemma and their like


def needs_bos(config: "PretrainedConfig") -> bool:
    """Whether a model of this configuration gives nonsense on text that does not begin with BOS."""
    return NEEDING in config.model_type


def window_opening(config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens that a window of calibration text begins with: those that the tokenizer puts before every text.

    Where it puts none, the BOS of a model that needs one; else nothing.
    """
    opening = leading_tokens(tokenizer)
    if not opening and needs_bos(config) and tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id]
    return opening
