"""A row of a table as one document: which of its columns are read, and how they make a text or a conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import RequestError
from models.text.dialogues import Dialogue

MESSAGES = ("messages", "conversations", "conversation")
# (asked, more to it, answered): a conversation of two messages.
ASKED = (
    ("prompt", None, "response"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("instruction", None, "response"),
    ("question", None, "answer"),
)
CONTINUED = (("prefix", "completion"), ("prefix", "gold_completion"), ("prompt", "completion"))  # one running text
KNOWN = "text; messages; prompt, response; instruction, input, output; question, answer; prefix, completion"
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}
BETWEEN = "\n\n"


def parse_columns(words: str | None) -> tuple[str, ...] | None:
    """The names in `A,B`; None for None. RequestError for an empty name or one given twice."""
    if words is None:
        return None
    names = tuple(word.strip() for word in words.split(",")) if isinstance(words, str) else ()
    if not names or not all(names) or len(set(names)) < len(names):
        raise RequestError(f"The columns must be names such as prefix,completion, each once, not {words!r}.")
    return names


def row_document(row: Any, columns: Sequence[str] | None, place: str) -> str | Dialogue:
    """The document of a row, which is at `place`: of the `columns` that are named, else of those that are known.

    A column `text` is the text; messages (`role` and `content`, or `from` and `value`) are a conversation, and so are
    a prompt and its response, an instruction (with its input) and its output, a question and its answer; a prefix and
    its completion are one running text. Named columns of none of these forms are joined by blank lines.

    RequestError, with the place, if the row is no object, has none of these forms or lacks a named column, or if a
    value is not what it should be.
    """
    if not isinstance(row, Mapping):
        raise RequestError(f"{place}: every line must be a JSON object with a string field `text`, or {KNOWN}.")
    if columns is None:
        found = _known(row, place)
        if found is None:
            raise RequestError(
                f"{place} has the keys {_listed(row)}, of which none is known (known: {KNOWN}): "
                "say which to join by --columns (of a sweep: --calibration-columns)."
            )
        return found
    if missing := [name for name in columns if name not in row]:
        raise RequestError(f"{place} has no column `{missing[0]}` (it has {_listed(row)}): name others.")
    named = {name: row[name] for name in columns}
    if len(columns) == 1:
        value = row[columns[0]]
        return _messages(value, place) if isinstance(value, list) else _text(row, columns[0], place)
    found = _known(named, place, alone=True)
    if found is not None:
        return found
    return BETWEEN.join(text for text in (_text(row, name, place) for name in columns) if text)


def _known(row: Mapping, place: str, alone: bool = False) -> str | Dialogue | None:
    """The document of the first form that the row has, beside other columns unless `alone`; None if it has none."""

    def has(*names: str | None) -> bool:
        needed = {name for name in names if name}
        return needed <= row.keys() and (not alone or needed == row.keys())

    if has("text"):
        return _text(row, "text", place)
    for name in MESSAGES:
        if has(name):
            return _messages(row[name], place)
    for asked, more, answered in ASKED:
        if has(asked, more, answered):
            return _asked(row, asked, more, answered, place)
        if has(asked, answered):
            return _asked(row, asked, None, answered, place)
    for names in CONTINUED:
        if has(*names):
            return "".join(_text(row, name, place) for name in names)
    return None


def _asked(row: Mapping, asked: str, more: str | None, answered: str, place: str) -> Dialogue:
    words = [_text(row, asked, place)]
    if more is not None and row[more] is not None:
        words.append(_text(row, more, place))
    question = BETWEEN.join(word for word in words if word)
    return Dialogue((("user", question), ("assistant", _text(row, answered, place))))


def _messages(value: Any, place: str) -> Dialogue:
    if not isinstance(value, list) or not value:
        raise RequestError(f"{place}: a conversation must be a list of messages with role and content.")
    return Dialogue(tuple(_message(each, f"{place}, message {number}") for number, each in enumerate(value, 1)))


def _message(message: Any, place: str) -> tuple[str, str]:
    for speaker, said in (("role", "content"), ("from", "value")):
        if isinstance(message, Mapping) and speaker in message and said in message:
            role, content = message[speaker], message[said]
            if not isinstance(role, str) or not isinstance(content, str):
                raise RequestError(f"{place}: `{speaker}` and `{said}` must be texts.")
            return SPEAKERS.get(role, role), content
    raise RequestError(f"{place} has neither role and content nor from and value.")


def _text(row: Mapping, name: str, place: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise RequestError(f"{place}: `{name}` is {value!r:.40}, not a text: name other columns, or mend it.")
    return value


def _listed(row: Mapping) -> str:
    names = [str(name) for name in row]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"
