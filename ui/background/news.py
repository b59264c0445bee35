"""What came or comes in the background, as one visitor should see it: fetched models, the model of --pruned."""

from dataclasses import dataclass, replace

from models.catalogue import Entry
from models.console.progress import format_seconds
from models.console.units import format_bytes
from ui.background.errand import CANCELLED, FAILED, RUNNING
from ui.background.visitors import Visit
from ui.complaints import explain
from ui.engine import Engine, Twin
from ui.parts.html import progress_bar, quiet, short_name
from ui.texts import Words


@dataclass(frozen=True)
class News:
    """The notice as HTML and as a line, what can be done about it, and what the page shall change to by itself.

    `cancel` and `again`: whether the visitor may; `offer`: the text of a button that does what would happen by itself
    to one who has begun nothing. `model` or `twin` is what is there to change to, `now` whether to do so at once.
    `more`: whether news are still to come.
    """

    body: str = ""
    said: str = ""
    cancel: bool = False
    again: bool = False
    offer: str = ""
    model: str = ""
    twin: Twin | None = None
    now: bool = False
    more: bool = False


def news_for(engine: Engine, visit: Visit, words: Words, begun: bool = True, wish: str = "") -> News:
    """The news for a visitor, who waits for the model `wish`. What was fetched goes before the rest."""
    fetched = _of_fetching(engine, visit, words, begun, wish)
    beside = _of_beside(engine, visit, words, begun)
    first, other = (fetched, beside) if fetched.said or fetched.body else (beside, fetched)
    return replace(first, more=first.more or other.more)


def _of_fetching(engine: Engine, visit: Visit, words: Words, begun: bool, wish: str) -> News:
    fetcher = engine.fetcher
    entry, standing = fetcher.entry, fetcher.standing
    if entry is None:
        return News()
    may = engine.free_choice
    if fetcher.pending:
        soon = not standing.message
        title = words("fetch_soon" if soon else "fetching", model=entry.name)
        remarks = [standing.message] if words.language == "en" and standing.message else []
        remarks += [words("left", time=format_seconds(standing.left))] if standing.left else []
        bar = progress_bar(standing.fraction, title, ", ".join(remarks))
        facts = quiet(f"{facts_of(entry, words)} {words('fetch_meanwhile', model=short_name(visit.model))}")
        return News(bar + facts, cancel=may and standing.state == RUNNING, more=True)
    if standing.state == FAILED:
        return _line(explain(standing.error, words), again=may)
    if standing.state == CANCELLED:
        return _line(words("fetch_cancelled", model=entry.name), again=may)
    if visit.model == entry.name or entry.name not in (engine.default_model, wish):
        return News()
    said, offer = words("fetch_here", model=entry.name), words("fetch_use", model=entry.name)
    return _arrival(begun and entry.name != wish, said, offer, model=entry.name)


def _of_beside(engine: Engine, visit: Visit, words: Words, begun: bool) -> News:
    if engine.beside is None:
        return News()
    standing = engine.beside.standing
    if standing.open:
        return News(more=True)
    if standing.state == FAILED:
        return _line(words("beside_failed", text=explain(standing.error, words)))
    twin = next((twin for twin in engine.twins() if twin.settings is None and twin.model == visit.model), None)
    if twin is None or twin.key == visit.twin:
        return News()
    name = short_name(twin.loaded.description.id)
    said = words("beside_here", model=name)
    return _arrival(begun or visit.twin != "", said, words("beside_show", model=name), twin=twin)


def _arrival(begun: bool, said: str, offer: str, **what) -> News:
    return News(quiet(said), said, offer=offer, **what) if begun else News(said=said, now=True, **what)


def _line(said: str, again: bool = False) -> News:
    return News(quiet(said), said, again=again)


def facts_of(entry: Entry, words: Words) -> str:
    """What is fetched, in a sentence: licence, size, and from where."""
    sources = []
    if entry.hub:
        sources.append(words("from_hub", repo=entry.hub.repo, size=format_bytes(entry.hub.bytes)))
    if entry.wheel:
        sources.append(words("from_index", package=entry.wheel.requirement, size=format_bytes(entry.wheel.bytes)))
    return words("fetch_facts", licence=entry.licence, sources=words("or_else").join(sources))
