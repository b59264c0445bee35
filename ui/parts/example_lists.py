"""The examples of a tab, one list for models that chat and one for those that continue text: the fitting one shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from ui.texts import label

Rows = Mapping[str, Sequence[str]]  # the values of the tab's fields by the example's name


class ExampleLists:
    """Both lists under the same fields. The fields begin with the first example of the list that shows."""

    def __init__(self, tab: str, fields: Sequence[gr.Textbox], chat: Rows, text: Rows, chats: bool):
        self._fields = fields
        self._rows = {True: chat, False: text}
        self._columns = {}
        for kind, rows in self._rows.items():
            with gr.Column(visible=kind == chats, elem_id=f"examples-{tab}-{'chat' if kind else 'text'}") as column:
                gr.Examples(
                    [list(row) for row in rows.values()], list(fields), example_labels=list(rows),
                    label=label("examples"), cache_examples=False, api_visibility="private",
                )  # fmt: skip
            self._columns[kind] = column

    @property
    def components(self) -> list[gr.Column]:
        """What `fit` shows and hides; it also fills the fields."""
        return list(self._columns.values())

    def fit(self, chats: bool, *values: str | None) -> dict[Any, Any]:
        """Shows the fitting list; fields that hold nothing of the visitor's own get its first example."""
        updates = {column: gr.update(visible=kind == chats) for kind, column in self._columns.items()}
        known = {tuple(row) for rows in self._rows.values() for row in rows.values()}
        here = {tuple(row) for row in self._rows[chats].values()}
        if tuple(values) in here or tuple(values) not in known and any((value or "").strip() for value in values):
            return updates
        return updates | dict(zip(self._fields, next(iter(self._rows[chats].values())), strict=False))


def first(chat: Rows, text: Rows, chats: bool) -> Sequence[str]:
    """The values that the fields begin with."""
    return next(iter((chat if chats else text).values()))
