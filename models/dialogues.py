"""A conversation as a document: who says what, and how it is written for a model.

A model that was trained on conversations knows them in one form, its chat template, which its tokenizer brings along;
for any other they are written as a script, a name before each turn.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import RequestError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Dialogue:
    """A conversation: (role, content) of every message, in order. Roles are `system`, `user`, `assistant`, ..."""

    messages: tuple[tuple[str, str], ...]

    def as_list(self) -> list[dict[str, str]]:
        """The messages as chat templates want them."""
        return [{"role": role, "content": content} for role, content in self.messages]

    def script(self) -> str:
        """`User: ...` and `Assistant: ...`, a blank line between two turns."""
        return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in self.messages)


def as_text(dialogue: Dialogue, tokenizer: "PreTrainedTokenizerBase", what: str = "The conversation") -> str:
    """The conversation in the form of the tokenizer's chat template, special tokens written out; without one, a script.

    RequestError, naming `what` it is, if the template does not take it (some know no system prompt, or no two turns of
    one role).
    """
    if not tokenizer.chat_template:
        return dialogue.script()
    try:
        return tokenizer.apply_chat_template(dialogue.as_list(), tokenize=False)
    except Exception as error:  # a template may raise whatever it likes
        roles = ", ".join(dict.fromkeys(role for role, _ in dialogue.messages))
        raise RequestError(
            f"{what} (roles: {roles}) does not fit the model's chat template ({first_line(error, 120)}): use other text."
        ) from error
