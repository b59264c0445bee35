"""The form in which a model is asked: its chat template, the one it was trained on, or plain text that it continues."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from models.catalogue import find
from models.errors import RequestError
from models.text.chat import ChatTemplate, Messages, find_template
from training.formats import STOP, classification_prompt, completion, question_prompt

if TYPE_CHECKING:
    from models import Loaded

CHAT, INSTRUCTION, PLAIN = "chat", "instruction", "plain"
LABEL_LEAD = "This text is "  # how the assistant's turn begins before a label


class Asked(NamedTuple):
    """What a model is given to write on: a text or token ids, and the texts that end its answer."""

    prompt: str | list[int]
    stop: tuple[str, ...] = ()


class Choices(NamedTuple):
    """A prompt and the labels as they would follow it. is_whole: its special tokens are in it already."""

    prompt: str
    labels: list[str]
    is_whole: bool = False


@dataclass(frozen=True)
class TextForm:
    """Text to be continued. `note` says (in English) why a model is asked so that has another form of its own."""

    name: str = PLAIN
    note: str = ""
    chats: bool = False

    def question(self, context: str, question: str) -> Asked:
        """A question on a context; the answer ends with its line."""
        return Asked(question_prompt(context, question), (STOP,))

    def choices(self, text: str, labels: Sequence[str]) -> Choices:
        """A text to be labelled."""
        return Choices(classification_prompt(text), [completion(label) for label in labels])

    def conversation(self, messages: Messages) -> Asked:
        """RequestError: such a model knows no conversation."""
        raise RequestError("This model has no chat template that can be used: let it continue a text instead.")


@dataclass(frozen=True)
class ChatForm:
    """Turns of a conversation, as the tokenizer's template writes them. The answer ends with the assistant's turn."""

    template: ChatTemplate
    name: str = CHAT
    note: str = ""
    chats: bool = True

    def question(self, context: str, question: str) -> Asked:
        """A question on a context, both in the user's turn."""
        return self.conversation([{"role": "user", "content": question_message(context, question)}])

    def choices(self, text: str, labels: Sequence[str]) -> Choices:
        """A text to be labelled in the user's turn; the label is the assistant's."""
        messages = [{"role": "user", "content": label_message(text)}]
        return Choices(self.template.opening(messages) + LABEL_LEAD, list(labels), is_whole=True)

    def conversation(self, messages: Messages) -> Asked:
        """A conversation up to where the assistant is to speak. RequestError where the template refuses it."""
        return Asked(self.template.ids(messages))


Form = TextForm | ChatForm


def form_of(loaded: "Loaded") -> Form:
    """The form of a model: its tokenizer's chat template, else the catalogue's, else plain text.

    A chat template that cannot be used is told in the note of a form of text.
    """
    entry = find(loaded.description.id)
    known = INSTRUCTION if entry is not None and entry.form == INSTRUCTION else PLAIN
    try:
        template = find_template(loaded.tokenizer)
    except RequestError as error:
        return TextForm(known, str(error))
    return TextForm(known) if template is None else ChatForm(template)


def label_message(text: str) -> str:
    """How a chat model is asked for a label.

    The labels are not listed: where they were, the SmolLM2 of 135M told topics no better than chance.
    """
    return f"{text.strip()}\n\nWhat is this text?"


def question_message(context: str, question: str) -> str:
    """How a chat model is asked for an answer that stands in the context."""
    return f"{context.strip()}\n\n{question.strip()} Answer in a few words."
