"""One row of labelled data: its fields by name, and where it was read."""

from typing import Any


class Row(dict):
    """A dict of named fields; `where` is what a complaint calls the row: `reviews.csv, line 3`."""

    __slots__ = ("where",)

    def __init__(self, fields: dict, where: str = ""):
        super().__init__(fields)
        self.where = where

    def __or__(self, others: dict) -> "Row":
        return Row({**self, **others}, self.where)


def place_of(row: dict) -> str:
    """Where a row was read; nothing for a plain dict."""
    return getattr(row, "where", "")


def is_missing(value: Any) -> bool:
    """Whether a field says nothing: null, or the NaN that tables of numbers have for it."""
    return value is None or (isinstance(value, float) and value != value)
