"""A conversation as the text that a chat model was trained on: its tokenizer's own template, tried before it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from models.errors import RequestError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, str]]  # of {"role": system, user or assistant, "content": text}
DEFAULT = "default"  # the one of several named templates that is meant for talking
PROBE, SYSTEM_PROBE, SLOT = "QprobeZ", "QsystemZ", "QanswerZ"  # words that no template writes by itself


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template that was tried on a small conversation.

    parts: whether it wants a message's content as a list of parts. takes_system: whether it has a system role; where it
    has none, what the system says opens the first message of the user.
    """

    tokenizer: "PreTrainedTokenizerBase"
    source: str
    parts: bool = False
    takes_system: bool = True

    def ids(self, messages: Messages) -> list[int]:
        """The token ids of a conversation up to where the assistant is to speak.

        The template writes a BOS where the model wants one, so that the tokenizer adds none. Special tokens that the
        messages spell out stay. RequestError where the template refuses the conversation.
        """
        return self.tokenizer(self.text(messages), add_special_tokens=False, verbose=False)["input_ids"]

    def text(self, messages: Messages) -> str:
        """The text of a conversation up to where the assistant is to speak. RequestError as `ids`."""
        asked = self._render(messages, add_generation_prompt=True)
        if asked == self._render(messages, add_generation_prompt=False):
            # It marks no turn of the assistant but with an answer in it; a space before that belongs to its first token.
            return self.opening(messages).rstrip(" ")
        return asked

    def opening(self, messages: Messages) -> str:
        """The text before the first character of the assistant's answer, as the template writes one that is given.

        Where an answer is given, some templates put a space or an empty thought before it. RequestError as `ids`.
        """
        whole = self._render([*messages, {"role": "assistant", "content": SLOT}], add_generation_prompt=False)
        before, slot, _ = whole.rpartition(SLOT)
        return before if slot else self._render(messages, add_generation_prompt=True)

    def finished(self, messages: Messages) -> str:
        """The text of a whole conversation, whose last word the assistant has had. RequestError as `ids`."""
        return self._render(messages, add_generation_prompt=False)

    def _render(self, messages: Messages, **options: Any) -> str:
        if not self.takes_system:
            messages = without_system(messages)
        given = (
            [message | {"content": as_parts(message["content"])} for message in messages] if self.parts else messages
        )
        try:
            # A model that may think aloud first is asked not to: a short answer is what is compared here.
            return self.tokenizer.apply_chat_template(
                list(given), chat_template=self.source, tokenize=False, enable_thinking=False, **options
            )
        except Exception as error:  # a template raises whatever it likes
            raise RequestError(f"The model's chat template refuses this conversation: {first_line(error)}") from error


def find_template(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate | None:
    """The chat template of a tokenizer, None if it has none.

    Of several named ones it is `default`, else the first. RequestError in one line for one that cannot be used: it
    fails, or leaves out what the user says.
    """
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        source = source.get(DEFAULT) or next(iter(source.values()), None)
    if not source:
        return None
    asked = [{"role": "user", "content": PROBE}]
    complaints = []
    for parts in (False, True):
        template = ChatTemplate(tokenizer, source, parts)
        try:
            if PROBE in template.text(asked):
                return replace(template, takes_system=_takes_system(template, asked))
            complaints.append("it leaves out what the user says")
        except RequestError as error:
            complaints.append(first_line(error.__cause__).rstrip("."))
    raise RequestError(f"The model's chat template cannot be used ({complaints[0]}).")


def without_system(messages: Messages) -> list[Mapping[str, str]]:
    """The conversation with what the system says at the head of the user's first message."""
    said = [message["content"] for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    if not said or not rest:
        return rest
    return [{**rest[0], "content": "\n\n".join([*said, rest[0]["content"]])}, *rest[1:]]


def as_parts(text: str) -> list[dict[str, str]]:
    """A message's content as templates of models that also see images want it."""
    return [{"type": "text", "text": text}]


def _takes_system(template: ChatTemplate, asked: Messages) -> bool:
    try:
        text = template.text([{"role": "system", "content": SYSTEM_PROBE}, *asked])
    except RequestError:
        return False
    return SYSTEM_PROBE in text and PROBE in text
