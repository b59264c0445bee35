"""The Generate tab: one prompt, two models that write it on, and the fair race between them."""

from collections.abc import Iterator
from threading import Event

import gradio as gr

from ui.complaints import refusal, require_text
from ui.desk import Desk, Task, Updates
from ui.examples import PROMPTS
from ui.html import live_line, note, pane, quoted, written
from ui.panes import build_buttons, build_panes
from ui.race import run_race
from ui.sampling import build_sampling, sampling_of
from ui.strip import captions
from ui.texts import Words, label
from ui.values import whole
from ui.visitors import Visit
from ui.writing import Scene, write_pair

NAME = "generate"


def build_generate(desk: Desk) -> None:
    """Places the tab and wires it."""
    prompt = gr.Textbox(
        next(iter(PROMPTS.values())), label=label("prompt"), placeholder=label("prompt_placeholder"), lines=3,
        max_lines=12, elem_id="prompt",
    )  # fmt: skip
    gr.Examples(
        [[text] for text in PROMPTS.values()], [prompt], example_labels=list(PROMPTS), label=label("examples"),
        cache_examples=False, api_visibility="private", elem_id="examples-generate",
    )  # fmt: skip
    with gr.Accordion(label("sampling"), open=False, elem_id="sampling"):
        settings = build_sampling()
        repeats = gr.Slider(
            3, 15, value=5, step=1, label=label("repeats"), info=label("fair_race_info"), elem_id="repeats"
        )
    buttons = build_buttons(NAME, "run", "fair_race")
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="parting", apply_default_css=False)

    def check(words: Words, now: Visit, text: str, *_: object) -> None:
        require_text(text, "need_prompt", words)

    def check_race(words: Words, now: Visit, text: str, *_: object) -> None:
        require_text(text, "need_prompt", words)
        if not now.twin:
            raise refusal(words("race_needs_twin"))

    def generate(words: Words, stop: Event, now: Visit, text: str, *values: float) -> Iterator[Updates | None]:
        about = captions(now, desk.engine, words)
        waiting = {name: pane(name, words, "", live_line(None, words, False), about[name]) for name in about}
        yield panes.show(waiting, words) | {below: ""}
        for scene in write_pair(desk.engine, now, text, sampling_of(*values, words=words), stop, words):
            if scene is None:
                yield None
                continue
            updates = panes.show(contents(scene, about, text, words), words)
            if scene.over:
                line = parting_line(scene, words)
                updates |= {below: note(line, "verdict")} | desk.say(f"{finished_line(scene, words)} {line}")
            yield updates

    def race(words: Words, stop: Event, now: Visit, text: str, most: float, times: float) -> Iterator[Updates | None]:
        lengths = whole(words("max_new_tokens"), most, words), whole(words("repeats"), times, words)
        for shown, said in run_race(desk.engine, now, text, *lengths, stop, words):
            yield {below: shown} | desk.say(said) if shown else None

    def empty(words: Words, now: Visit) -> Updates:
        return panes.empty(now, words, words("pane_empty")) | {below: ""}

    def generate_failed(words: Words, complaint: str, *_: object) -> Updates:
        return panes.fail(complaint, words)

    def race_failed(words: Words, complaint: str, *_: object) -> Updates:
        return {below: note(complaint, "failure")}

    outputs = [*panes.components, below]
    generating = Task(NAME, generate, generate_failed, check)
    desk.wire(buttons.run, buttons, generating, [desk.visit, prompt, *settings], outputs)
    racing = Task(NAME, race, race_failed, check_race)
    desk.wire(buttons.others[0], buttons, racing, [desk.visit, prompt, settings[0], repeats], [below])
    desk.wire_stop(buttons, NAME)
    desk.wire_refresh(empty, outputs)


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
