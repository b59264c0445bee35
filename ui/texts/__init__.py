"""Everything the page says, in English and in Chinese.

Labels that the browser shows by itself go through `label` (Gradio's own translation, which follows the browser's
language); what the server writes goes through `Words`, chosen by the request's `accept-language`.
"""

from typing import TYPE_CHECKING

from ui.texts.chinese import CHINESE
from ui.texts.english import ENGLISH

if TYPE_CHECKING:
    import gradio as gr

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


class Words:
    """The page's texts in one language: `words("stopped")`, `words("race_times", n=5)`."""

    def __init__(self, language: str = "en"):
        self.language = language if language in LANGUAGES else "en"

    def __call__(self, key: str, **fields: object) -> str:
        """The text of a key with its fields filled in. KeyError for a key that does not exist."""
        return LANGUAGES[self.language][key].format(**fields)


def words_of(request: "gr.Request | None") -> Words:
    """The words in the language that the request's browser prefers among those we have."""
    headers = getattr(request, "headers", None) or {}
    return Words(preferred(headers.get("accept-language") or ""))


def preferred(accept_language: str) -> str:
    """`en` or `zh`, whichever an Accept-Language header ranks first; `en` if it names neither."""
    ranked = []
    for part in accept_language.split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((float(quality or 1), tag.split("-")[0].lower()))
        except ValueError:
            continue
    ranked.sort(key=lambda pair: -pair[0])
    return next((tag for quality, tag in ranked if tag in LANGUAGES and quality > 0), "en")


def label(key: str) -> "gr.I18nData":
    """A label that the browser translates. KeyError for a key that does not exist."""
    from gradio.i18n import I18nData

    if key not in ENGLISH:
        raise KeyError(key)
    return I18nData(key)


def translations() -> "gr.I18n":
    """All texts as Gradio takes them at launch."""
    import gradio as gr

    return gr.I18n(**{"en": ENGLISH, "zh-CN": CHINESE, "zh-TW": CHINESE})
