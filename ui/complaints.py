"""From exceptions and wrong input to one clear line on the page."""

import logging
from html import escape

import gradio as gr

from models.errors import EspalierError
from ui.texts import Words

LIMIT = 20_000  # characters; no field of the page takes more, whatever the model's context


def explain(error: Exception, words: Words) -> str:
    """The line that a visitor reads. What nobody foresaw goes to the log with its traceback."""
    if isinstance(error, EspalierError):
        return str(error)
    logging.getLogger("espalier").error("unexpected failure on the page", exc_info=error)
    first_line = (str(error).strip().splitlines() or [""])[0]
    return words("unexpected", kind=type(error).__name__, text=first_line[:300])


def warn(text: str) -> None:
    """Shows a line as a passing message; Gradio would read it as HTML."""
    gr.Warning(escape(text))


def require_text(text: str, complaint: str, words: Words) -> None:
    """Stops an event before anything is done if a field is empty or too long."""
    if not text.strip():
        raise refusal(words(complaint))
    if len(text) > LIMIT:
        raise refusal(words("too_long", n=len(text), limit=LIMIT))


def refusal(text: str) -> gr.Error:
    """The exception that ends an event with one line shown and nothing changed."""
    return gr.Error(escape(text), title="Espalier", print_exception=False)
