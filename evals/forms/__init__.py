"""Rows in the form that tasks ask for, whatever layout a set was published in: one file a form, `form(row) -> Row`.

A task names it in its data: `data: {file: ..., form: question}`. What a form raises for a row that has not what it
needs (KeyError, ValueError, TypeError, IndexError) is told with the row's line by `shaped`.
"""

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from evals.rows.row import Row
from models.errors import RequestError


def names() -> list[str]:
    """The forms there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def shaped(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows in the form of that name. RequestError, with its line, for a row that cannot be brought into it."""
    if name not in names():
        raise RequestError(f"Unknown form of rows {name!r}: use one of {', '.join(names())}.")
    form = getattr(import_module(f"{__name__}.{name}"), name)
    found = []
    for row in rows:
        try:
            found.append(form(row))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            have = ", ".join(map(str, row))
            raise RequestError(
                f"{row.where}: no {name} can be made of a row with {have} ({error!r:.80}): check the file."
            ) from None
    return found
