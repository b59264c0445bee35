"""The whole page over an engine, and how it is served."""

from html import escape
from pathlib import Path

import gradio as gr

from ui.background.desk import PRIVATE, Desk, Updates
from ui.background.news import news_for
from ui.background.visitors import Runs, Visit
from ui.endpoints import add_endpoints
from ui.engine import Engine
from ui.parts.choosing import build_choices, first_visit
from ui.parts.notice import build_notice, wire_notice
from ui.parts.picker import labelled
from ui.parts.status import build_status
from ui.parts.strip import strip_of
from ui.tabs.answer import build_answer
from ui.tabs.classify import build_classify
from ui.tabs.generate import build_generate
from ui.texts import Words, label, translations, words_of

FOLDER = Path(__file__).parent
SCRIPTS = ("keys.js", "begun.js")
LINE = 32  # how many requests may wait for the machine
POLL = 0.005  # seconds
SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]


def build_page(engine: Engine) -> gr.Blocks:
    """The page: the head, the choices with the strip, one tab a task, and the endpoints for programs."""
    with gr.Blocks(title="Espalier", analytics_enabled=False) as page:
        head = gr.HTML(head_html(Words()), elem_id="head", apply_default_css=False)
        desk = Desk(engine, Runs(), gr.State(Visit()), build_status())
        notice = build_notice()
        choices = build_choices(desk)
        wire_notice(notice, desk, choices)
        with gr.Tabs(elem_id="tabs"):
            for name, build in (("generate", build_generate), ("classify", build_classify), ("answer", build_answer)):
                with gr.Tab(label(f"tab_{name}"), id=name, elem_id=f"tab-{name}"):
                    build(desk)
        about = gr.HTML(about_html(Words()), elem_id="about", apply_default_css=False)
        add_endpoints(engine)

        def arrive(now: Visit, request: gr.Request) -> Updates:
            words = words_of(request)
            visit = first_visit(engine, now)
            return {
                head: head_html(words),
                about: about_html(words),
                desk.visit: visit,
                choices.strip: strip_of(engine, visit, words),
                choices.model: gr.update(choices=labelled(engine, words), value=visit.model),
            } | notice.show(news_for(engine, visit, words))

        arriving = [head, about, desk.visit, *choices, *notice.shown]
        page.load(arrive, [desk.visit], arriving, concurrency_limit=None, **PRIVATE)
    page.queue(max_size=LINE)
    # Gradio's queue looks for work a thousand times a second, each time taking a core from the forward pass.
    page._queue.sleep_when_free = POLL
    return page


def look() -> dict:
    """What `launch` needs so that the page looks and behaves as meant: theme, style, shortcuts, translations."""
    theme = gr.themes.Base(
        primary_hue="slate", secondary_hue="slate", neutral_hue="slate", radius_size="sm", spacing_size="md",
        font=SYSTEM_FONTS, font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_200", button_primary_background_fill_hover_dark="*primary_100",
        button_primary_text_color_dark="*primary_900", body_text_color_subdued="*neutral_500",
        block_label_text_color="*neutral_600", block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300", slider_color="*neutral_600", slider_color_dark="*neutral_300",
    )  # fmt: skip
    return {
        "theme": theme,
        "css": (FOLDER / "style.css").read_text(encoding="utf-8"),
        "head": "".join(f"<script>{(FOLDER / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS),
        "i18n": translations(),
        "footer_links": ["api", "settings"],
        "run_history": False,
    }


def head_html(words: Words) -> str:
    """The name of the page and what it is for."""
    return f'<header class="head"><h1>Espalier</h1><p>{escape(words("tagline"))}</p></header>'


def about_html(words: Words) -> str:
    """The line at the foot."""
    return f'<p class="quiet">{escape(words("about"))}</p>'
