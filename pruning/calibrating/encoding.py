"""Calibration documents as token ids: texts as they are, conversations in the model's own chat form."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from models.errors import RequestError
from models.text.characters import check_strings
from models.text.chat import ChatTemplate, find_template
from models.text.dialogues import Dialogue, as_text
from pruning.calibration import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT_CHARACTERS_PER_TOKEN = 8  # generous: how much of a long document is read before the rest is left alone


@dataclass
class Encoder:
    """Documents as token ids by a tokenizer, of a long one about the first `limit` tokens.

    opening: the ids that every window begins with, which a conversation then need not bring along.
    """

    tokenizer: "PreTrainedTokenizerBase"
    limit: int
    opening: Sequence[int] = ()

    def ids(self, document: Document, what: str) -> list[int]:
        """The ids of a document, `what` it is called. RequestError for half a character or a refused conversation."""
        if isinstance(document, Dialogue):
            return self._of_dialogue(document, what)
        if not isinstance(document, str):
            return list(document)
        check_strings(document, what, nul=True)
        return self._of_text(document.strip())

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The tokenizer's chat template, None if it has none. RequestError if it cannot be used."""
        return find_template(self.tokenizer)

    def _of_dialogue(self, dialogue: Dialogue, what: str) -> list[int]:
        check_strings(dialogue.messages, what, nul=True)
        try:
            text = as_text(dialogue, self.template)
        except RequestError as error:
            raise RequestError(f"{what}: {error} Use text without it, such as --calibration embedded:prose.") from error
        ids, opening = self._of_text(text), list(self.opening)
        return ids[len(opening) :] if ids[: len(opening)] == opening else ids  # templates may write the BOS themselves

    def _of_text(self, text: str) -> list[int]:
        text = text[: self.limit * TEXT_CHARACTERS_PER_TOKEN]
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
