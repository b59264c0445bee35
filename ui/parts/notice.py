"""The notice above the choices: what is fetched or loaded in the background, and what a visitor can do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from models.errors import EspalierError
from ui.background.desk import PRIVATE, Desk, Updates
from ui.background.news import News, news_for
from ui.background.visitors import Visit
from ui.complaints import explain, warn
from ui.engine import Engine
from ui.parts.choosing import Choices
from ui.parts.picker import labelled
from ui.parts.strip import strip
from ui.texts import Words, label, words_of

LOOK = 1.0  # seconds between two looks of an open page, while something is still to come
BEGUN = "(visit, wish, begun) => [visit, wish, window.espalierBegun === true]"


@dataclass(frozen=True)
class Notice:
    """Its components: the frame, what it says, three buttons, the clock, and for each visitor what is waited for."""

    frame: gr.Column
    body: gr.HTML
    cancel: gr.Button
    again: gr.Button
    use: gr.Button
    clock: gr.Timer
    wish: gr.State
    begun: gr.Checkbox

    @property
    def shown(self) -> list:
        """What `show` updates."""
        return [self.frame, self.body, self.cancel, self.again, self.use, self.clock]

    def show(self, news: News) -> Updates:
        """The updates that show the news; without any the frame is gone."""
        return {
            self.frame: gr.update(visible=bool(news.body)),
            self.body: news.body,
            self.cancel: gr.update(visible=news.cancel),
            self.again: gr.update(visible=news.again),
            self.use: gr.update(visible=bool(news.offer), value=news.offer),
            self.clock: gr.update(active=news.more),
        }


def build_notice() -> Notice:
    """Places it where it stands; it is shown once there is something to tell."""
    with gr.Column(visible=False, elem_id="notice") as frame:
        body = gr.HTML(elem_id="notice-body", apply_default_css=False)
        cancel = gr.Button(label("fetch_stop"), visible=False, elem_id="notice-cancel", size="sm")
        again = gr.Button(label("fetch_again"), visible=False, elem_id="notice-again", size="sm")
        use = gr.Button(visible=False, elem_id="notice-use", size="sm", variant="primary")
    return Notice(
        frame, body, cancel, again, use, gr.Timer(LOOK, active=False), gr.State(""), gr.Checkbox(visible=False)
    )


def wire_notice(notice: Notice, desk: Desk, choices: Choices) -> None:
    """Wires it to the choices, which it changes when something has come, and by which models are asked for."""
    engine, visit = desk.engine, desk.visit
    changed = [choices.model, visit, choices.strip, desk.status]

    def look(now: Visit, wish: str, begun: bool, request: gr.Request) -> Updates:
        words = words_of(request)
        news = news_for(engine, now, words, begun, wish)
        updates = notice.show(news)
        if news.now:
            updates |= change(engine, choices, visit, news, words)
        elif _settled(engine) and not now.twin and not desk.runs.running(request.session_hash, "prune"):
            updates |= {choices.strip: strip(None, now.model, engine, words)}
        return updates | (desk.say(news.said) if news.said else {})

    notice.clock.tick(
        look, [visit, notice.wish, notice.begun], [*notice.shown, *changed], queue=False, js=BEGUN, **PRIVATE
    )

    def use(now: Visit, wish: str, request: gr.Request) -> Updates:
        words = words_of(request)
        news = news_for(engine, now, words, begun=True, wish="")
        return notice.show(News(more=news.more)) | change(engine, choices, visit, news, words)

    notice.use.click(use, [visit, notice.wish], [*notice.shown, *changed], queue=False, **PRIVATE)

    def again(now: Visit, request: gr.Request) -> Updates:
        if not engine.free_choice:
            return {notice.wish: gr.skip()}
        engine.fetcher.again()
        wish = engine.fetcher.entry.name if engine.fetcher.entry else ""
        return notice.show(news_for(engine, now, words_of(request))) | {notice.wish: wish}

    notice.again.click(again, [visit], [*notice.shown, notice.wish], queue=False, **PRIVATE)

    def cancel() -> None:
        if engine.free_choice:
            engine.fetcher.cancel()

    notice.cancel.click(cancel, None, None, queue=False, **PRIVATE)

    def choose(now: Visit, name: str, request: gr.Request) -> Iterator[Updates]:
        name, words = (name or "").strip(), words_of(request)
        if not (engine.free_choice and engine.fetcher.missing(name)):
            yield {notice.wish: ""}
            return
        try:
            engine.fetcher.start(name)
        except EspalierError as error:
            warn(explain(error, words))
            yield {choices.model: now.model}
            return
        # The list says what the page shows: the former model, until the other has come.
        yield {choices.model: now.model, notice.wish: name} | notice.show(news_for(engine, now, words))

    choices.model.input(
        choose, [visit, choices.model], [choices.model, notice.wish, *notice.shown], concurrency_limit=None, **PRIVATE
    )

    def settle(now: Visit, wish: str, request: gr.Request) -> Updates:
        return notice.show(news_for(engine, now, words_of(request), wish=wish))

    visit.change(settle, [visit, notice.wish], notice.shown, queue=False, **PRIVATE)


def _settled(engine: Engine) -> bool:
    return engine.beside is not None and not engine.beside.standing.open


def change(engine: Engine, choices: Choices, visit: gr.State, news: News, words: Words) -> Updates:
    """The updates by which the page changes to what has come. The list's own event loads a model of that name."""
    if news.model:
        return {choices.model: gr.update(choices=labelled(engine, words), value=news.model)}
    if news.twin is None:
        return {}
    twin = news.twin
    return {visit: Visit(twin.model, twin.key), choices.strip: strip(twin, twin.model, engine, words)}
