"""The strip above the panes: what pruning changed, in figures, and in one sentence what they mean."""

from html import escape

from evals.measurement import Measurement
from models.console.units import format_bytes, format_count, format_percent
from ui.background.visitors import Visit
from ui.engine import NO_SOLVER, PLAIN, Change, Engine, Twin
from ui.parts.html import note, number, quiet, short_name
from ui.texts import Words

MOST_WARNINGS = 3


def strip(twin: Twin | None, model: str, engine: Engine, words: Words) -> str:
    """The strip as HTML: the twin's figures, or an invitation to prune."""
    if twin is None:
        return frame(_without_twin(model, engine, words), words)
    change = twin.change
    facts = (
        _count_fact("parameters", change.parameters, format_count, words)
        + _count_fact("nonzero", change.nonzero, format_count, words)
        + _count_fact("bytes", change.bytes, format_bytes, words)
        + _measured_fact("perplexity", "perplexity_help", change.perplexity, change.perplexity_ratio, words)
        + _measured_fact("speed", "speed_help", change.speed, change.speedup, words)
    )
    said = words("live_note") if twin.live else sentence(change, words)
    return frame(
        f"<dl>{facts}</dl>{note(said)}"
        + (note(words("slow_path", reason=change.slow_path)) if change.slow_path else "")
        + "".join(map(note, warnings(change, words))),
        words,
        f"{short_name(twin.model)}, {settings_line(twin, engine, words)}",
    )


def _without_twin(model: str, engine: Engine, words: Words) -> str:
    coming = engine.beside if model == engine.default_model else None
    if coming is not None and coming.standing.open:
        return quiet(words("beside_coming", model=short_name(coming.name)))
    return f"<p><b>{escape(words('no_twin'))}</b></p>{quiet(words('no_twin_hint', model=short_name(model)))}"


def strip_of(engine: Engine, visit: Visit, words: Words) -> str:
    """The strip of what a visitor looks at; a twin that is gone from memory counts as none."""
    twin = next((twin for twin in engine.twins() if twin.key == visit.twin), None)
    return strip(twin, visit.model, engine, words)


def frame(body: str, words: Words, caption: str = "") -> str:
    """The strip's frame around a body that is HTML already."""
    small = f"<small>{escape(caption)}</small>" if caption else ""
    title = escape(words("changed"))
    return f'<section class="strip" aria-label="{title}"><h2>{title}{small}</h2>{body}</section>'


def settings_line(twin: Twin, engine: Engine, words: Words) -> str:
    """What was done to the twin: `wanda, 50 %, unstructured`."""
    settings = twin.settings
    if settings is None:
        return f"{short_name(twin.loaded.description.id)}, {words('pruned_elsewhere')}"
    percent = format_percent(settings.sparsity, 0)
    whole_blocks = any(method.name == settings.method and not method.patterns for method in engine.methods())
    share = words("of_blocks", percent=percent) if whole_blocks else f"{percent}, {settings.pattern}"
    solver = "" if settings.solver == NO_SOLVER else f" + {settings.solver}"
    layout = "" if settings.layout == PLAIN else f", {words('layout_' + settings.layout.replace(' ', '_'))}"
    preview = f", {words('live_preview')}" if twin.live else ""
    return f"{settings.method}{solver}, {share}{layout}{preview}"


def captions(visit: Visit, engine: Engine, words: Words) -> dict[str, str]:
    """What stands beside each pane's name, by side: the model, and what was done to its twin."""
    twin = next((twin for twin in engine.twins() if twin.key == visit.twin), None)
    return {"dense": short_name(visit.model)} | ({"pruned": settings_line(twin, engine, words)} if twin else {})


def sentence(change: Change, words: Words) -> str:
    """What the setting saves and what it does not: the pruner's own words where they are in the page's language."""
    if change.note and words.language == "en":
        return change.note
    saved = {(True, True): "both", (True, False): "memory", (False, True): "time", (False, False): "nothing"}
    return words(f"saves_{saved[change.saves_memory, change.saves_time]}")


def warnings(change: Change, words: Words) -> list[str]:
    """What else one must know, a sentence each; of many the first few, and how many more there are."""
    said = [words("warned", text=text) for text in change.warnings[:MOST_WARNINGS]]
    more = len(change.warnings) - MOST_WARNINGS
    return [*said, words("warned_more", n=more)] if more > 0 else said


def _count_fact(name: str, values: tuple[int, int], form, words: Words) -> str:
    before, after = values
    if before == after:
        remark = words("unchanged")
    else:
        remark = f"{'−' if after < before else '+'}{format_percent(abs(after - before) / max(before, 1))}"
    return _fact(words(name), form(before), form(after), remark)


def _measured_fact(
    name: str, help: str, pair: tuple[Measurement, Measurement] | None, ratio: Measurement | None, words: Words
) -> str:
    if pair is None or ratio is None:
        return ""
    before, after = pair
    remark = words("times_dense", ratio=number(ratio.value), interval=_ends(ratio, words))
    if ratio.interval is not None and ratio.interval[0] <= 1 <= ratio.interval[1]:
        remark += f", {words('within_noise')}"
    helps = (
        words(help),
        words("interval", ends=_ends(before, words)),
        words("interval", ends=_ends(after, words)),
    )
    return _fact(words(name), number(before.value), number(after.value), remark, *helps)


def _fact(
    name: str, before: str, after: str, remark: str, help: str = "", before_help: str = "", after_help: str = ""
) -> str:
    arrow = '<span class="arrow" aria-label="to">→</span>'
    old = f'<span title="{escape(before_help)}">{escape(before)}</span>'
    new = f'<b class="after" title="{escape(after_help)}">{escape(after)}</b>'
    return (
        f'<div><dt title="{escape(help)}">{escape(name)}</dt>'
        f"<dd>{old} {arrow} {new}<small>{escape(remark)}</small></dd></div>"
    )


def _ends(measurement: Measurement, words: Words) -> str:
    if measurement.interval is None:
        return "–"
    return words("range", low=number(measurement.interval[0]), high=number(measurement.interval[1]))
