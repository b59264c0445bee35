"""The slider that prunes live: every move sets a preview beside the dense model, its figures a moment later."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from models.errors import Cancelled
from ui.background.desk import PRIVATE, Desk, Updates
from ui.background.streaming import Pacer
from ui.background.visitors import Visit
from ui.complaints import explain, warn
from ui.engine import Engine, Settings, Twin
from ui.parts.html import number, progress_bar, short_name
from ui.parts.strip import frame, strip, strip_of
from ui.texts import Words, label, words_of

RUN = "live"  # the name of a visitor's preview among the runs


def build_live() -> gr.Checkbox:
    """Places the switch."""
    return gr.Checkbox(True, label=label("live_switch"), container=False, min_width=110, elem_id="live")


def wire_live(
    desk: Desk, live: gr.Checkbox, moved: Sequence[Any], prune: gr.Button, inputs: Sequence[Any], shown: gr.HTML,
    settings_of: Callable[..., Settings],
) -> None:  # fmt: skip
    """Wires the events `moved` to previews; `inputs` are the model and then what `settings_of` reads.

    The newest position wins: a move ends the preview before it, wherever that is. So does pressing `prune`.
    """
    engine, visit = desk.engine, desk.visit

    def follow(request: gr.Request, now: Visit, on: bool, name: str, *chosen: Any) -> Iterator[Updates]:
        words, name = words_of(request), (name or "").strip()
        desk.runs.announce(request.session_hash, RUN)
        stop = desk.runs.event(request.session_hash, RUN)
        try:
            settings = settings_of(*chosen, words=words) if on and name == now.model else None
            if settings is not None and engine.previewable(settings):
                for news in follow_preview(engine, name, settings, stop, words):
                    yield _shown(desk, visit, shown, news, words)
            else:
                yield {shown: gr.skip()}  # an event that yields nothing would never end on the page
        except Cancelled:
            yield {shown: gr.skip()}
        except Exception as error:
            complaint = explain(error, words)
            warn(complaint)
            yield {shown: strip_of(engine, now, words)} | desk.say(complaint)
        finally:
            desk.runs.finish(request.session_hash, RUN, stop)

    gr.on(
        list(moved), follow, [visit, live, *inputs], [visit, shown, desk.status], concurrency_limit=None,
        trigger_mode="multiple", **PRIVATE,
    )  # fmt: skip

    def end(request: gr.Request) -> None:
        desk.runs.stop(request.session_hash, RUN)

    prune.click(end, None, None, queue=False, **PRIVATE)


def follow_preview(
    engine: Engine, model: str, settings: Settings, stop: threading.Event, words: Words
) -> Iterator[Twin | str | None]:
    """Previews on the worker; yields a strip with a bar while statistics are taken, the twin, and the twin measured.

    Setting `stop` ends it: nothing more is yielded, or Cancelled is raised from where the work was.
    """
    title = words("working_live", model=short_name(model))

    def work(publish: Callable) -> None:
        pacer = Pacer(0.1)

        def progress(fraction: float, message: str) -> None:
            if stop.is_set():
                raise Cancelled
            if pacer.due(notable=False):
                publish(frame(progress_bar(fraction, title), words))

        if stop.is_set():  # while it stood in line
            raise Cancelled
        twin = engine.preview(model, settings, progress)
        publish(twin)
        publish(engine.measured(twin))

    for news in engine.worker.follow(work, stop):
        if stop.is_set():
            return
        yield news


def _shown(desk: Desk, visit: gr.State, shown: gr.HTML, news: Twin | str | None, words: Words) -> Updates:
    if not isinstance(news, Twin):
        return {shown: news or gr.skip()}
    updates = {visit: Visit(news.model, news.key), shown: strip(news, news.model, desk.engine, words)}
    if news.change.perplexity is not None:
        before, after = (number(value.value) for value in news.change.perplexity)
        updates |= desk.say(words("live_done", before=before, after=after))
    return updates
