"""What stands on the Generate tab, and how it is arranged for a model and for what a visitor wants of it."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.background.desk import Desk, Updates
from ui.background.visitors import Visit
from ui.forms import CHAT, PLAIN
from ui.parts.asked import asked_line
from ui.parts.example_lists import ExampleLists, first
from ui.parts.examples import MESSAGES, PROMPTS
from ui.parts.panes import Buttons, Panes, build_buttons, build_panes
from ui.parts.sampling import build_sampling, usual
from ui.parts.strip import captions
from ui.tabs.conversation import Conversation
from ui.tabs.speaking import chat_contents
from ui.texts import Words, label

NAME = "generate"
TALKING = ("regenerate", "clear")  # buttons of a conversation


@dataclass(frozen=True)
class Stage:
    """The tab's components. `mode` says whether a chat model is talked to or continues a text; `held` keeps what was said."""

    desk: Desk
    mode: gr.Radio
    asked: gr.HTML
    prompt: gr.Textbox
    examples: ExampleLists
    system: gr.Textbox
    settings: list[Any]
    repeats: gr.Slider
    buttons: Buttons
    panes: Panes
    below: gr.HTML
    held: gr.State

    @property
    def given(self) -> list[Any]:
        """What every task is given, after the words and the stop event, in this order."""
        return [self.desk.visit, self.prompt, self.mode, self.system, self.held]

    @property
    def outputs(self) -> list[Any]:
        """What a task may change."""
        return [*self.panes.components, self.below, self.prompt, self.held]

    @property
    def usuals(self) -> list[Any]:
        """The settings that are usually others in a conversation: new tokens, repetition penalty."""
        return [self.settings[0], self.settings[5]]

    @property
    def arranged_by(self) -> list[Any]:
        """What `anew` is given after the visit."""
        return [self.prompt, self.mode, self.held, *self.usuals]

    @property
    def arranged(self) -> list[Any]:
        """What `anew` may change."""
        shown = [self.asked, self.mode, self.system, *self.buttons.others[:2], *self.examples.components, *self.usuals]
        return [*self.outputs, *shown]

    def speaks(self, now: Visit, chosen: str) -> bool:
        """Whether the visitor talks with the models."""
        return chosen == CHAT and self.desk.engine.form(now.model).chats

    def current(self, words: Words, now: Visit, chosen: str, talk: Conversation, invitation: str = "") -> Updates:
        """The panes with what was said so far, or an invitation."""
        speaks = self.speaks(now, chosen)
        if speaks and talk.of(now).turns:
            return self.panes.show(chat_contents(talk, captions(now, self.desk.engine, words), words), words)
        return self.panes.empty(now, words, invitation or words("chat_empty" if speaks else "pane_empty"))

    def anew(self, words: Words, now: Visit, text: str, chosen: str, talk: Conversation, *values: float) -> Updates:
        """The tab for other models or another mode; a conversation with other models is over, which is said."""
        form, speaks = self.desk.engine.form(now.model), self.speaks(now, chosen)
        over = speaks and bool(talk.turns) and talk.visit != now
        fitted = self.examples.fit(speaks, text)
        field = {"value": fitted.pop(self.prompt)} if self.prompt in fitted else {}
        return {
            **self.current(words, now, chosen, talk, words("chat_anew") if over else ""),
            **fitted,
            **{component: gr.update(visible=speaks) for component in (self.system, *self.buttons.others[:2])},
            **self._usual(speaks, values),
            self.prompt: gr.update(**wording(speaks), **field),
            self.mode: gr.update(visible=form.chats),
            self.asked: asked_line(now.model, form, words, continued=not speaks),
            self.below: "",
            self.held: talk.of(now),
        }

    def _usual(self, speaks: bool, values: tuple[float, ...]) -> Updates:
        """Settings that are as usual in the other mode become what is usual in this one."""
        pairs = zip(self.usuals, values, usual(speaks), usual(not speaks), strict=True)
        return {component: new for component, value, new, old in pairs if value == old != new}


def build_stage(desk: Desk) -> Stage:
    """Places the tab's components."""
    chats = desk.engine.form(desk.engine.default_model).chats
    with gr.Row(elem_classes="asked-row"):
        mode = gr.Radio(
            [(label("mode_chat"), CHAT), (label("mode_plain"), PLAIN)], value=CHAT, label=label("mode"),
            show_label=False, container=False, visible=chats, elem_id="mode", min_width=240,
        )  # fmt: skip
        asked = gr.HTML(elem_id="generate-asked", apply_default_css=False)
    prompt = gr.Textbox(
        first(MESSAGES, PROMPTS, chats)[0], lines=3, max_lines=12, elem_id="prompt", **wording(chats)
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
    buttons = build_buttons(NAME, "run", *TALKING, "fair_race", hidden=() if chats else TALKING)
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="parting", apply_default_css=False)
    held = gr.State(Conversation())
    return Stage(desk, mode, asked, prompt, examples, system, settings, repeats, buttons, panes, below, held)


def wording(speaks: bool) -> dict[str, Any]:
    """What the field for the prompt is called."""
    names = ("message", "message_placeholder") if speaks else ("prompt", "prompt_placeholder")
    return dict(zip(("label", "placeholder"), map(label, names), strict=False))
