"""Values that a program or a field sends, checked before anything is done: a wrong one is told in one line."""

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.errors import RequestError
from models.text.characters import check_strings
from ui.texts import Words

ENGLISH = Words()
SHOWN = 40  # characters of a wrong value


def whole(name: str, value: Any, words: Words = ENGLISH) -> int:
    """A whole number; JavaScript's 5.0 is one. RequestError, which calls it `name`, for anything else."""
    if _is_number(value) and value == int(value):
        return int(value)
    raise RequestError(words("need_whole", name=name, given=shown(value)))


def real(name: str, value: Any, words: Words = ENGLISH) -> float:
    """A number. RequestError, which calls it `name`, for anything else: NaN, infinity and what is too large for a float."""
    if _is_number(value):
        return float(value)
    raise RequestError(words("need_number", name=name, given=shown(value)))


def text(name: str, value: Any, words: Words = ENGLISH) -> str:
    """A text of whole characters. RequestError, which calls it `name`, for anything else."""
    if not isinstance(value, str):
        raise RequestError(words("need_string", name=name, given=shown(value)))
    check_strings(value, f"The {name}")
    return value


def flag(name: str, value: Any, words: Words = ENGLISH) -> bool:
    """True or false. RequestError, which calls it `name`, for anything else."""
    if not isinstance(value, bool):
        raise RequestError(words("need_flag", name=name, given=shown(value)))
    return value


CHECKS = {int: whole, float: real, str: text, bool: flag}


def arguments(function: Callable, values: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, each checked by the type that the function's signature gives it.

    RequestError for one that is missing, unknown, or of another type.
    """
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*values, **named).arguments
    except TypeError as error:
        raise RequestError(f"The call does not fit ({error}): give {', '.join(signature.parameters)}.") from None
    return {name: CHECKS[signature.parameters[name].annotation](name, value) for name, value in bound.items()}


def shown(value: Any) -> str:
    """A value as JSON writes it, a long one cut."""
    written = json.dumps(value, ensure_ascii=True, default=repr)
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}…"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
