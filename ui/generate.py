"""The Generate tab: a conversation with both models, or one prompt that both continue, and the fair race between them."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import gradio as gr

from ui.asked import asked_line
from ui.complaints import refusal, require_text
from ui.conversation import Conversation, ask_turn, converse
from ui.desk import PRIVATE, Desk, Task, Updates
from ui.example_lists import ExampleLists, first
from ui.examples import MESSAGES, PROMPTS
from ui.forms import CHAT, PLAIN
from ui.html import live_line, note, pane, quoted, written
from ui.panes import build_buttons, build_panes
from ui.race import run_race
from ui.sampling import build_sampling, sampling_of, usual
from ui.speaking import chat_contents, same_again
from ui.strip import captions
from ui.texts import Words, label, words_of
from ui.values import whole
from ui.visitors import Visit
from ui.writing import Scene, continuing, write_pair

NAME = "generate"


def build_generate(desk: Desk) -> None:
    """Places the tab and wires it."""
    engine = desk.engine
    chats = engine.form(engine.default_model).chats
    with gr.Row(elem_classes="asked-row"):
        mode = gr.Radio(
            [(label("mode_chat"), CHAT), (label("mode_plain"), PLAIN)], value=CHAT, show_label=False, container=False,
            label=label("mode"), visible=chats, elem_id="mode", min_width=240,
        )  # fmt: skip
        asked = gr.HTML(elem_id="generate-asked", apply_default_css=False)
    prompt = gr.Textbox(
        first(MESSAGES, PROMPTS, chats)[0], label=label("message" if chats else "prompt"), lines=3, max_lines=12,
        placeholder=label("message_placeholder" if chats else "prompt_placeholder"), elem_id="prompt",
    )  # fmt: skip
    examples = ExampleLists(NAME, [prompt], MESSAGES, PROMPTS, chats)
    with gr.Accordion(label("sampling"), open=False, elem_id="sampling"):
        system = gr.Textbox(
            label=label("system"), info=label("system_info"), lines=1, max_lines=6, visible=chats, elem_id="system"
        )
        settings = build_sampling(chats)
        repeats = gr.Slider(
            3, 15, value=5, step=1, label=label("repeats"), info=label("fair_race_info"), elem_id="repeats"
        )
    talking = ("regenerate", "clear")
    buttons = build_buttons(NAME, "run", *talking, "fair_race", hidden=() if chats else talking)
    regenerate, clear, fair_race = buttons.others
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="parting", apply_default_css=False)
    held = gr.State(Conversation())

    def speaks(now: Visit, chosen: str) -> bool:
        return chosen == CHAT and engine.form(now.model).chats

    def check(words: Words, now: Visit, text: str, chosen: str, told: str, *_: object) -> None:
        require_text(text, "need_message" if speaks(now, chosen) else "need_prompt", words)
        if speaks(now, chosen) and told.strip():
            require_text(told, "need_message", words)

    def check_again(words: Words, now: Visit, text: str, chosen: str, told: str, talk: Conversation, *_: object) -> None:
        if not talk.of(now).turns:
            raise refusal(words("chat_nothing"))
        check(words, now, talk.turns[-1].said, chosen, told)

    def check_race(words: Words, now: Visit, text: str, chosen: str, told: str, talk: Conversation, *_: object) -> None:
        if (text or "").strip() or not (speaks(now, chosen) and talk.of(now).turns):
            check(words, now, text, chosen, told)
        if not now.twin:
            raise refusal(words("race_needs_twin"))

    def generate(
        words: Words, stop: Event, now: Visit, text: str, chosen: str, told: str, talk: Conversation, *values: float
    ) -> Iterator[Updates | None]:
        if speaks(now, chosen):
            yield from speak(words, stop, talk.of(now).asked(text.strip()), told, values, {prompt: ""})
        else:
            yield from write_on(words, stop, now, text, values)

    def write_on(
        words: Words, stop: Event, now: Visit, text: str, values: tuple[float, ...]
    ) -> Iterator[Updates | None]:
        about = captions(now, engine, words)
        waiting = {name: pane(name, words, "", live_line(None, words, False), about[name]) for name in about}
        yield panes.show(waiting, words) | {below: ""}
        for scene in write_pair(engine, now, continuing(text), sampling_of(*values, words=words), stop, words):
            if scene is None:
                yield None
                continue
            updates = panes.show(contents(scene, about, text, words), words)
            if scene.over:
                line = parting_line(scene, words)
                updates |= {below: note(line, "verdict")} | desk.say(f"{finished_line(scene, words)} {line}")
            yield updates

    def again(
        words: Words, stop: Event, now: Visit, text: str, chosen: str, told: str, talk: Conversation, *values: float
    ) -> Iterator[Updates | None]:
        yield from speak(words, stop, talk.of(now).again(), told, values, {}, talk.turns[-1].answers)

    def speak(
        words: Words, stop: Event, talk: Conversation, told: str, values: tuple[float, ...], at_once: Updates,
        earlier: dict | None = None,
    ) -> Iterator[Updates | None]:  # fmt: skip
        about, sampling = captions(talk.visit, engine, words), sampling_of(*values, words=words)
        yield panes.show(chat_contents(talk, about, words), words) | {below: ""} | at_once
        for news in converse(engine, talk, told, sampling, stop, words):
            if news is None:
                yield None
                continue
            now_said, scene = news
            updates = panes.show(chat_contents(now_said, about, words), words)
            if scene.over:
                lines = [parting_line(scene, words)]
                if earlier and sampling.temperature == 0 and same_again(now_said.turns[-1], earlier):
                    lines.append(words("chat_same"))
                line = " ".join(filter(None, lines))
                updates |= {below: note(line, "verdict"), held: now_said}
                updates |= desk.say(f"{finished_line(scene, words)} {line}")
            yield updates

    def race(
        words: Words, stop: Event, now: Visit, text: str, chosen: str, told: str, talk: Conversation, most: float,
        times: float,
    ) -> Iterator[Updates | None]:  # fmt: skip
        lengths = whole(words("max_new_tokens"), most, words), whole(words("repeats"), times, words)
        ask = continuing(text)
        if speaks(now, chosen):
            talk = talk.of(now)
            ask = ask_turn(talk.asked(text.strip()) if text.strip() else talk, told, words)
        for shown, said in run_race(engine, now, ask, *lengths, stop, words):
            yield {below: shown} | desk.say(said) if shown else None

    def current(words: Words, now: Visit, chosen: str, talk: Conversation, invitation: str = "") -> Updates:
        if speaks(now, chosen) and talk.of(now).turns:
            return panes.show(chat_contents(talk, captions(now, engine, words), words), words)
        return panes.empty(now, words, invitation or words("chat_empty" if speaks(now, chosen) else "pane_empty"))

    def arranged(words: Words, now: Visit, chosen: str, text: str) -> Updates:
        form, chats = engine.form(now.model), speaks(now, chosen)
        return {
            asked: asked_line(now.model, form, words, continued=not chats),
            mode: gr.update(visible=form.chats),
            prompt: gr.update(
                label=label("message" if chats else "prompt"),
                placeholder=label("message_placeholder" if chats else "prompt_placeholder"),
            ),
            **{component: gr.update(visible=chats) for component in (system, regenerate, clear)},
            **refilled(chats, text),
        }

    def refilled(chats: bool, text: str) -> Updates:
        updates = examples.fit(chats, text)
        if prompt not in updates:
            return updates
        return updates | {prompt: gr.update(
            value=updates[prompt], label=label("message" if chats else "prompt"),
            placeholder=label("message_placeholder" if chats else "prompt_placeholder"),
        )}  # fmt: skip

    def settled(chats: bool, most: float, penalty: float) -> Updates:
        given, wanted, other = (most, penalty), usual(chats), usual(not chats)
        pairs = zip((settings[0], settings[5]), given, wanted, other)
        return {component: new for component, value, new, old in pairs if value == old != new}

    def empty(
        words: Words, now: Visit, text: str, chosen: str, talk: Conversation, most: float, penalty: float
    ) -> Updates:
        over = bool(talk.turns) and talk.visit != now
        shown = current(words, now, chosen, talk, words("chat_anew") if over and speaks(now, chosen) else "")
        return (
            shown | {below: "", held: talk.of(now)} | arranged(words, now, chosen, text)
            | settled(speaks(now, chosen), most, penalty)
        )  # fmt: skip

    def switch(request: gr.Request, now: Visit, text: str, chosen: str, talk: Conversation, *usuals: float) -> Updates:
        return empty(words_of(request), now, text, chosen, talk, *usuals)

    def forget(request: gr.Request, now: Visit, chosen: str) -> Updates:
        words = words_of(request)
        return current(words, now, chosen, Conversation(now)) | {below: "", held: Conversation(now)}

    def failed(
        words: Words, complaint: str, now: Visit, text: str, chosen: str, told: str, talk: Conversation, *_: object
    ) -> Updates:
        if not speaks(now, chosen):
            return panes.fail(complaint, words)
        return current(words, now, chosen, talk) | {below: note(complaint, "failure"), prompt: text}

    def failed_below(words: Words, complaint: str, *_: object) -> Updates:
        return {below: note(complaint, "failure")}

    def again_failed(words: Words, complaint: str, now: Visit, text: str, chosen: str, told: str, talk, *_) -> Updates:
        return current(words, now, chosen, talk) | {below: note(complaint, "failure")}

    given: list[Any] = [desk.visit, prompt, mode, system, held]
    outputs = [*panes.components, below, prompt, held]
    desk.wire(buttons.run, buttons, Task(NAME, generate, failed, check), [*given, *settings], outputs)
    desk.wire(regenerate, buttons, Task(NAME, again, again_failed, check_again), [*given, *settings], outputs)
    desk.wire(fair_race, buttons, Task(NAME, race, failed_below, check_race), [*given, settings[0], repeats], [below])
    desk.wire_stop(buttons, NAME)
    clear.click(forget, [desk.visit, mode], [*panes.components, below, held], queue=False, **PRIVATE)
    arranging = [prompt, mode, held, settings[0], settings[5]]
    changed = [
        *outputs, asked, mode, system, regenerate, clear, *examples.components, settings[0], settings[5],
    ]  # fmt: skip
    desk.wire_refresh(empty, changed, arranging)
    mode.input(switch, [desk.visit, *arranging], changed, queue=False, **PRIVATE)


def contents(scene: Scene, about: dict[str, str], prompt: str, words: Words) -> dict[str, str]:
    """The panes of a scene by side, as HTML."""
    parting = scene.parting
    shown = {}
    for at, (name, picture) in enumerate(zip(scene.names, scene.pictures)):
        mark = parting.spans[at] if parting and parting.spans else None
        foot = live_line(picture, words, shared=len(scene.names) > 1)
        shown[name] = pane(name, words, written(prompt, picture, mark), foot, about.get(name, ""))
    return shown


def parting_line(scene: Scene, words: Words) -> str:
    """Where the two texts part ways, in a sentence; empty when there is only one."""
    parting = scene.parting
    if parting is None or parting.same == 0 and parting.at is None:
        return ""
    if parting.spans is None:
        return words("part_never" if parting.whole else "part_prefix", n=parting.same)
    pieces = {}
    for name, picture, (start, end) in zip(scene.names, scene.pictures, parting.spans):
        pieces[name] = quoted(picture.text[start:end]) if end > start else words("text_end")
    return words("part_at", at=parting.at, **pieces)


def finished_line(scene: Scene, words: Words) -> str:
    """What screen readers hear at the end."""
    if any(picture.finished == "stopped" for picture in scene.pictures):
        return words("stopped")
    counts = {name: picture.tokens for name, picture in zip(scene.names, scene.pictures)}
    return words("generated" if len(counts) > 1 else "generated_dense", **counts)
