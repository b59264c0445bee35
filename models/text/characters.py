"""Characters that no text may hold: half of a surrogate pair, and NUL. Every reader of a person's text asks here.

JSON writes an emoji as two halves (`\\ud83d\\ude00`), and a text that was cut between them keeps one: Python holds it,
but no tokenizer takes it and no file can be written with it. NUL stands in files that are binary or UTF-16.
"""

from typing import Any

from models.errors import RequestError

BYTE_ORDER_MARK = "\ufeff"  # at the beginning of a text it is no part of it
REMEDY = "mend its encoding or leave it out"


def fault_of(text: str) -> str | None:
    """What of a text cannot be used, in words; None if nothing."""
    if "\0" in text:
        return f"a NUL character at {text.index(chr(0))}"
    return half_of(text)


def half_of(text: str) -> str | None:
    """The first half of a surrogate pair without its other half, in words; None if there is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half a character at {error.start} (\\u{ord(text[error.start]):04x})"
    return None


def checked(text: str, where: str) -> str:
    """The text without a byte order mark before it. RequestError, beginning with `where`, if it cannot be used."""
    if fault := fault_of(text):
        raise RequestError(f"{where} holds {fault}: {REMEDY}.")
    return text.removeprefix(BYTE_ORDER_MARK)


def check_strings(value: Any, where: str, nul: bool = False) -> None:
    """RequestError, beginning with `where`, if a string of a JSON value cannot be used; keys count too.

    With `nul` only halves of characters are refused: where the encoding is known NUL is a character like others.
    """
    if isinstance(value, str):
        if fault := half_of(value) if nul else fault_of(value):
            raise RequestError(f"{where} holds {fault}: {REMEDY}.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_strings(key, where, nul)
            check_strings(inner, where, nul)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_strings(inner, where, nul)
