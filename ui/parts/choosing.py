"""The row of choices at the top: model, method, sparsity, pattern, Prune and Cancel; and the strip under it."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from models.console.progress import format_seconds
from models.console.units import format_percent
from models.errors import Cancelled
from ui.background.desk import ONE_AT_A_TIME, PRIVATE, Desk, Task, Updates
from ui.background.streaming import Pacer
from ui.background.visitors import Visit
from ui.complaints import explain, warn
from ui.engine import LAYOUTS, NO_SOLVER, PLAIN, UNSTRUCTURED, Engine, Method, Settings, Twin, pattern_sparsity
from ui.parts.html import note, number, progress_bar, short_name
from ui.parts.panes import Buttons
from ui.parts.picker import labelled
from ui.parts.strip import frame, strip, strip_of
from ui.tabs.live import build_live, wire_live
from ui.texts import Words, label, words_of
from ui.values import real, text


class Choices(NamedTuple):
    """What others of the page change: the list of models and the strip."""

    model: gr.Dropdown
    strip: gr.HTML


def build_choices(desk: Desk) -> Choices:
    """Places the row and the strip and wires them to `desk.visit`: what the tabs compare."""
    engine, visit = desk.engine, desk.visit
    methods = list(engine.methods())
    first = methods[0]
    with gr.Row(elem_classes="choices", equal_height=True):
        model = gr.Dropdown(
            labelled(engine, Words()), value=engine.default_model,
            label=label("model_free" if engine.free_choice else "model"),
            allow_custom_value=engine.free_choice, scale=2, min_width=190, elem_id="model",
        )  # fmt: skip
        method = gr.Dropdown(
            [m.name for m in methods], value=first.name, label=label("method"), filterable=False, scale=2,
            min_width=150, elem_id="method",
        )  # fmt: skip
        sparsity = gr.Slider(
            5, 95, value=50, step=5, label=label("sparsity"), scale=3, min_width=210, elem_id="sparsity"
        )
        pattern = gr.Dropdown(
            list(first.patterns), value=UNSTRUCTURED, label=label("pattern"), filterable=False, scale=3, min_width=190,
            elem_id="pattern",
        )  # fmt: skip
        solver = gr.Dropdown(
            list(first.solvers), value=NO_SOLVER, label=label("solver"), filterable=False, scale=2, min_width=130,
            elem_id="solver",
        )  # fmt: skip
        layout = gr.Dropdown(
            [(label(f"layout_{name.replace(' ', '_')}"), name) for name in LAYOUTS], value=first_layout(), scale=2,
            label=label("layout"), filterable=False, min_width=130, elem_id="layout",
        )  # fmt: skip
        with gr.Column(scale=1, min_width=150, elem_classes="acts"):
            prune = gr.Button(label("prune"), variant="primary", elem_id="prune")
            cancel = gr.Button(label("cancel"), interactive=False, elem_id="cancel")
            live = build_live()
    hint = gr.HTML(note(first.summary, "quiet"), elem_id="method-hint", apply_default_css=False)
    shown = gr.HTML(elem_id="strip", apply_default_css=False)

    def adapt(method_name: str, pattern_name: str, solver_name: str, request: gr.Request) -> Updates:
        chosen = next(m for m in methods if m.name == method_name)
        kept = pattern_name if pattern_name in chosen.patterns else UNSTRUCTURED
        fixed = bool(chosen.patterns) and pattern_sparsity(kept) is not None
        return {
            sparsity: gr.update(visible=not fixed, label=label("sparsity" if chosen.patterns else "share_of_blocks")),
            pattern: gr.update(visible=bool(chosen.patterns), value=kept),
            solver: gr.update(
                visible=len(chosen.solvers) > 1,
                choices=list(chosen.solvers),
                value=solver_name if solver_name in chosen.solvers else NO_SOLVER,
            ),
            layout: gr.update(visible=bool(chosen.patterns)),
            hint: note(hint_text(chosen, kept, solver_name, words_of(request)), "quiet"),
        }

    shaped = [sparsity, pattern, solver, layout, hint]
    # Without preprocess: a choice made just before another shortened the list of choices is no error here.
    gr.on(
        [method.input, pattern.input, solver.input], adapt, [method, pattern, solver], shaped, queue=False,
        preprocess=False, **PRIVATE,
    )  # fmt: skip

    wanted = partial(settings_of, methods)
    moved = [sparsity.input, pattern.input, method.input, live.input]
    wire_live(desk, live, moved, prune, [model, method, sparsity, pattern, solver, layout], shown, wanted)

    def run(words: Words, stop: threading.Event, now: Visit, name: str, *chosen: Any) -> Iterator[Updates | None]:
        settings = settings_of(methods, *chosen, words=words)
        for news in follow_pruning(engine, text(words("model"), name, words).strip(), settings, stop, words):
            if isinstance(news, Twin):
                values = [number(value.value) for value in news.change.perplexity]
                yield {
                    visit: Visit(news.model, news.key),
                    shown: strip(news, news.model, engine, words),
                } | desk.say(words("pruned_done", before=values[0], after=values[1]))
            else:
                yield {shown: news} if news else None

    def failed(words: Words, complaint: str, now: Visit, *_: object) -> Updates:
        return {shown: strip_of(engine, now, words)}

    buttons = Buttons(prune, cancel)
    task = Task("prune", run, failed)
    desk.wire(prune, buttons, task, [visit, model, method, sparsity, pattern, solver, layout], [visit, shown])
    desk.wire_stop(buttons, task.name)

    def change_model(now: Visit, model_name: str, request: gr.Request) -> Iterator[dict]:
        words = words_of(request)
        name = (model_name or "").strip()
        if name == now.model or engine.fetcher.missing(name):  # which is fetched first: see ui.parts.notice
            yield {shown: gr.skip()}  # an event that yields nothing would never end on the page
            return
        try:
            yield {shown: frame(progress_bar(0.0, words("working_load", model=short_name(name))), words)}
            notes: tuple[str, ...] = ()
            for loaded in engine.worker.follow(lambda publish: publish(engine.dense(name)), threading.Event()):
                notes = loaded.description.notes if loaded else notes
                yield {shown: gr.skip()}
        except Exception as error:
            text = explain(error, words)
            warn(text)
            yield {model: now.model, shown: strip_of(engine, now, words)} | desk.say(text)
            return
        twin = engine.latest(name)
        then = Visit(name, twin.key if twin else "")
        said = " ".join([words("model_ready", model=name), *notes])
        yield {visit: then, shown: strip(twin, name, engine, words)} | desk.say(said)

    model.change(change_model, [visit, model], [visit, model, shown, desk.status], **ONE_AT_A_TIME, **PRIVATE)
    return Choices(model, shown)


def first_layout() -> str:
    """Packed, where the kernels for it can be had on this machine; a plain twin saves neither memory nor time."""
    from pruning.packing.kernels.library import can_compile

    return "packed" if can_compile() else PLAIN


def settings_of(
    methods: Sequence[Method], method: str, percent: float, pattern: str, solver: str, layout: str = PLAIN,
    words: Words | None = None,
) -> Settings:  # fmt: skip
    """The settings of a request; a method that removes whole blocks has no pattern, no solver and no layout.

    RequestError if they are impossible.
    """
    words = words or Words()
    share = real(words("sparsity"), percent, words) / 100
    if any(known.name == method and not known.patterns for known in methods):
        return Settings(method, share)
    return Settings(method, share, pattern, solver, layout)


def follow_pruning(
    engine: Engine, model: str, settings: Settings, stop: threading.Event, words: Words
) -> Iterator[Twin | str | None]:
    """Prunes on the worker; yields the strip with a progress bar as HTML, None as a heartbeat, last the twin.

    Setting `stop` raises Cancelled between two steps of the work.
    """
    began = time.monotonic()
    title = words("working_prune", model=short_name(model))

    def work(publish: Callable) -> None:
        pacer = Pacer(0.1)

        def progress(fraction: float, message: str) -> None:
            if stop.is_set():
                raise Cancelled
            if pacer.due(notable=False):
                left = (time.monotonic() - began) * (1 - fraction) / fraction if fraction > 0.05 else 0
                # The pruner's own messages are English; in another language the time left must do.
                remarks = [message] if words.language == "en" and message else []
                remarks += [words("left", time=format_seconds(left))] if left >= 1 else []
                publish(frame(progress_bar(fraction, title, ", ".join(remarks)), words))

        progress(0.0, "")
        publish(engine.prune(model, settings, progress))

    yield from engine.worker.follow(work, stop)


def first_visit(engine: Engine, now: Visit) -> Visit:
    """What a visitor sees first: the default model with its newest twin, if there is one."""
    model = now.model or engine.default_model
    twin = engine.latest(model)
    return replace(now, model=model, twin=twin.key if twin else "")


def hint_text(method: Method, pattern: str, solver: str, words: Words) -> str:
    """What the method does, what its pattern fixes, and what the solver does."""
    parts = [method.summary]
    share = pattern_sparsity(pattern) if method.patterns else None
    if share is not None:
        from pruning.patterns import parse

        kept, of = (getattr(parse(pattern), name, None) for name in ("kept", "of"))
        key = "pattern_fixes" if kept and of else "pattern_fixes_share"
        parts.append(words(key, pattern=pattern, kept=kept, of=of, percent=format_percent(share, 0)))
    if solver != NO_SOLVER and solver in method.solvers:
        parts.append(f"{solver}: {method.solvers[solver]}")
    return " ".join(parts)
