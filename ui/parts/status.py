"""The line that only screen readers see: results are announced here, while the panes stay silent."""

from html import escape

import gradio as gr


def build_status() -> gr.HTML:
    """Places the line; set its value with `announce`."""
    return gr.HTML(announce(""), elem_id="status", apply_default_css=False)


def announce(text: str) -> str:
    """The line's content. The role is on the inner element, which stays the same kind of node all the time."""
    return f'<div role="status">{escape(text)}</div>'
