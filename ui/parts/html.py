"""Pieces of the page as HTML. Whatever comes from a model or a visitor is escaped here and nowhere else."""

from collections.abc import Sequence
from html import escape

from ui.background.streaming import Picture
from ui.texts import Words


def pane(side: str, words: Words, body: str, foot: str = "", about: str = "") -> str:
    """One side's frame: its name, what model it is, a body and a foot (both HTML already)."""
    caption = f"<small>{escape(about)}</small>" if about else ""
    footer = f"<footer>{foot}</footer>" if foot else ""
    return (
        f'<article class="pane {side}" aria-label="{escape(words(side))}">'
        f"<h3>{escape(words(side))}{caption}</h3>{body}{footer}</article>"
    )


def quiet(text: str) -> str:
    """A body that is not a result: an invitation, or why there is nothing."""
    return f'<p class="quiet">{escape(text)}</p>'


def failure(text: str) -> str:
    """A body that says what went wrong."""
    return f'<p class="failure">{escape(text)}</p>'


def written(prompt: str, picture: Picture, mark: tuple[int, int] | None = None) -> str:
    """A continuation behind its prompt; `mark` (start, end in characters) is where it parts from the other one."""
    shown = marked(picture.text, mark)
    error = failure(picture.error) if picture.error else ""
    return f'<div class="text" dir="auto"><span class="prompt">{escape(prompt)}</span>{shown}</div>{error}'


def marked(text: str, mark: tuple[int, int] | None) -> str:
    """A text, a piece of it (start, end in characters) marked as where it parts from another one."""
    if mark is None:
        return escape(text)
    start, end = mark
    return f'{escape(text[:start])}<mark class="parting">{escape(text[start:end])}</mark>{escape(text[end:])}'


def turns(said: Sequence[tuple[str, str]]) -> str:
    """A conversation, oldest first: what the visitor said (a text) and what was answered (HTML), turn by turn.

    The list is wrapped so that it can be kept scrolled to its end.
    """
    items = "".join(
        f'<li class="said" dir="auto">{escape(text)}</li>'
        + (f'<li class="reply" dir="auto">{reply}</li>' if reply else "")
        for text, reply in said
    )
    return f'<div class="turns"><ol>{items}</ol></div>'


def live_line(picture: Picture | None, words: Words, shared: bool) -> str:
    """The figures under a text: tokens, time to first token, tokens per second, and what is going on."""
    if picture is None:
        return _badge(words("waiting"))
    first = "–" if picture.first is None else f"{1000 * picture.first:.0f} ms"
    rate = "–" if picture.rate is None else number(picture.rate)
    if picture.error:
        state = words("failed")
    elif picture.finished:
        state = words(f"ended_{picture.finished}")
    else:
        state = words("live" if shared else "live_alone")
    slow = f'<span title="{escape(words("rereads_help"))}">{escape(words("rereads"))}</span>' if picture.rereads else ""
    return (
        f"<span><b>{picture.tokens}</b> {escape(words('tokens'))}</span>"
        f'<span title="{escape(words("ttft_help"))}">{escape(words("ttft"))} <b>{first}</b></span>'
        f'<span title="{escape(words("rate_help"))}"><b>{rate}</b> {escape(words("rate"))}</span>{slow}'
        f"{_badge(state, live=not picture.finished)}"
    )


def bars(rows: list[tuple[str, float, str]]) -> str:
    """Labelled bars of shares in 0..1, each with a further remark; the longest first is the caller's order."""
    lines = []
    for name, share, remark in rows:
        percent = f"{100 * share:.1f} %"
        lines.append(
            f'<div class="bar" title="{escape(remark)}"><span class="name" dir="auto">{escape(name)}</span>'
            f'<span class="track" aria-hidden="true"><span style="width:{100 * share:.2f}%"></span></span>'
            f"<b>{percent}</b></div>"
        )
    return f'<div class="bars">{"".join(lines)}</div>'


def progress_bar(fraction: float, title: str, remark: str = "") -> str:
    """A bar that fills, for assistive technology too."""
    percent = round(100 * min(max(fraction, 0.0), 1.0))
    return (
        f'<div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}" '
        f'aria-label="{escape(title)}">'
        f"<p><b>{escape(title)}</b> <span>{percent} %</span> <small>{escape(remark)}</small></p>"
        f'<div class="track"><span style="width:{percent}%"></span></div></div>'
    )


def note(text: str, kind: str = "note") -> str:
    """A sentence of its own line."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""


def quoted(text: str, most: int = 80) -> str:
    """A piece of text in quotation marks, line ends made visible, a long one cut."""
    short = text if len(text) <= most else f"{text[:most].rstrip()}…"
    return f"“{short}”".replace("\n", "⏎")


def short_name(model: str) -> str:
    """A model's name for a caption: of a long path its last two parts."""
    return model if len(model) <= 32 else "/".join(["…", *model.rstrip("/").split("/")[-2:]])


def number(value: float) -> str:
    """Three significant digits or so: `0.98`, `9.75`, `41.0`, `1,204`."""
    if value != value or value in (float("inf"), float("-inf")):
        return "–"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def _badge(text: str, live: bool = False) -> str:
    return f'<span class="badge{" live" if live else ""}">{escape(text)}</span>'
