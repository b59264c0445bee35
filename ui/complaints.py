"""From exceptions and wrong input to one clear line on the page."""

import logging
from html import escape

import gradio as gr

from models.errors import EspalierError, first_line
from models.storage.reading import unopened
from models.text.characters import fault_of
from ui.plain_words import without_options
from ui.texts import Words

LIMIT = 20_000  # characters; no field of the page takes more, whatever the model's context


def explain(error: Exception, words: Words) -> str:
    """The line that a visitor reads. What nobody foresaw goes to the log with its traceback."""
    if told := error if isinstance(error, EspalierError) else unopened(error):
        return without_options(str(told))
    logging.getLogger("espalier").error("unexpected failure on the page", exc_info=error)
    return words("unexpected", kind=type(error).__name__, text=without_options(first_line(error)))


def warn(text: str) -> None:
    """Shows a line as a passing message; Gradio would read it as HTML."""
    gr.Warning(escape(text))


def require_text(text: str | None, complaint: str, words: Words) -> None:
    """Stops an event before anything is done if a field is empty, too long, or has characters that nobody can use."""
    if text is None or not text.strip():
        raise refusal(words(complaint))
    if len(text) > LIMIT:
        raise refusal(words("too_long", n=len(text), limit=LIMIT))
    require_whole(text, words)


def require_whole(text: str, words: Words) -> None:
    """Stops an event before anything is done if a field has half a character or NUL in it."""
    if fault_of(text):
        raise refusal(words("half_characters"))


def refusal(text: str) -> gr.Error:
    """The exception that ends an event with one line shown and nothing changed."""
    return gr.Error(escape(text), title="Espalier", print_exception=False)
