"""A text that a model is to write on or to be asked about, as token ids: special tokens before it, none behind it.

Many tokenizers can be told to end every text with an EOS (`add_eos_token`, a template `$A </s>`). That is right for a
text that is over, and wrong for one that is to go on: the model would begin something new.
"""

from typing import TYPE_CHECKING

from models.errors import RequestError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """The token ids of a text to be continued, behind the tokenizer's leading special tokens.

    Special tokens that the text itself spells out stay. An empty text is what a text begins with (`beginning`).
    """
    plain = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
    return [*leading_tokens(tokenizer), *plain] if plain else beginning(tokenizer)


def beginning(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The tokens before a text that nothing precedes: the tokenizer's leading ones, else its BOS or EOS.

    Raises RequestError for a tokenizer that has none of them: the first token of a text would have no likelihood.
    """
    known = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None]
    tokens = leading_tokens(tokenizer) or known[:1]
    if not tokens:
        raise RequestError("The prompt is empty and the model has no token to begin a text with: write something.")
    return tokens


def leading_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The special tokens that the tokenizer puts before a text by default: often one BOS, or none."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    return list(whole[: next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)])
