"""A conversation as a document: who says what, and how it is written for a model.

A model that was trained on conversations knows them in one form, its chat template (`models.text.chat`); for any other they
are written as a script, a name before each turn.
"""

from dataclasses import dataclass

from models.text.chat import ChatTemplate


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


def as_text(dialogue: Dialogue, template: ChatTemplate | None) -> str:
    """The conversation in the form of a chat template, special tokens written out; without one, as a script.

    RequestError if the template does not take it: some know no two turns of one role.
    """
    return dialogue.script() if template is None else template.finished(dialogue.as_list())
