"""The line that says in which form the model is asked, and which languages it knows."""

from models.catalogue import find
from ui.forms import PLAIN, Form
from ui.parts.html import quiet
from ui.texts import Words


def asked_line(model: str, form: Form, words: Words, continued: bool = False) -> str:
    """The line as HTML; `continued`: a text is continued as it stands, whatever the form.

    Catalogue models also say their language: nobody should judge an English model by what it makes of Chinese.
    """
    said = [words(f"asked_{PLAIN if continued else form.name}")]
    entry = find(model)
    if entry is not None and entry.languages == ("en",):
        said.append(words("knows_english"))
    if form.note:
        said.append(words("warned", text=form.note))
    return quiet(" ".join(said))
