"""The Generate tab: a conversation with both models, or one prompt that both continue, and the fair race between them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple

import gradio as gr

from ui.background.desk import PRIVATE, Desk, Task, Updates
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.background.writing import Scene, continuing, write_pair
from ui.complaints import refusal, require_text
from ui.parts.html import live_line, note, pane
from ui.parts.sampling import sampling_of
from ui.parts.strip import captions
from ui.tabs.continuation import contents, finished_line, parting_line
from ui.tabs.conversation import Conversation, ask_turn, converse
from ui.tabs.race import run_race
from ui.tabs.speaking import chat_contents, same_again
from ui.tabs.stage import NAME, Stage, build_stage
from ui.texts import Words, words_of
from ui.values import whole


def build_generate(desk: Desk) -> None:
    """Places the tab and wires it."""
    stage = build_stage(desk)
    acts = Acts(stage)
    buttons, given = stage.buttons, stage.given
    regenerate, clear, fair_race = buttons.others

    def switch(request: gr.Request, now: Visit, *values: Any) -> Updates:
        return stage.anew(words_of(request), now, *values)

    def forget(request: gr.Request, now: Visit, chosen: str) -> Updates:
        nothing = Conversation(now)
        return stage.current(words_of(request), now, chosen, nothing) | {stage.below: "", stage.held: nothing}

    running = Task(NAME, acts.run, acts.run_failed, acts.check)
    desk.wire(buttons.run, buttons, running, [*given, *stage.settings], stage.outputs)
    again = Task(NAME, acts.again, acts.again_failed, acts.check_again)
    desk.wire(regenerate, buttons, again, [*given, *stage.settings], stage.outputs)
    racing = Task(NAME, acts.race, acts.race_failed, acts.check_race)
    desk.wire(fair_race, buttons, racing, [*given, stage.settings[0], stage.repeats], [stage.below])
    desk.wire_stop(buttons, NAME)
    cleared = [*stage.panes.components, stage.below, stage.held]
    clear.click(forget, [desk.visit, stage.mode], cleared, queue=False, **PRIVATE)
    stage.mode.input(switch, [desk.visit, *stage.arranged_by], stage.arranged, queue=False, **PRIVATE)
    desk.wire_refresh(stage.anew, stage.arranged, stage.arranged_by)


class Given(NamedTuple):
    """What the visitor gave: the models, the text of the field, the mode, the system prompt, and what was said before."""

    now: Visit
    text: str
    chosen: str
    system: str
    talk: Conversation

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Given":
        """From the values of a task; a field that the browser has not built yet, in a folded part, is None."""
        now, text, chosen, system, talk = values[:5]
        return cls(now, text or "", chosen, system or "", talk)


@dataclass(frozen=True)
class Acts:
    """What the tab's buttons do; each is given the values of `Stage.given`, and then those of its own."""

    stage: Stage

    def check(self, words: Words, *values: Any) -> None:
        """Refuses what cannot be run."""
        given = Given.of(values)
        speaks = self.stage.speaks(given.now, given.chosen)
        require_text(given.text, "need_message" if speaks else "need_prompt", words)
        if speaks and given.system.strip():
            require_text(given.system, "need_message", words)

    def check_again(self, words: Words, *values: Any) -> None:
        """Refuses to answer again what was never answered."""
        given = Given.of(values)
        if not given.talk.of(given.now).turns:
            raise refusal(words("chat_nothing"))
        self.check(words, *given._replace(text=given.talk.turns[-1].said))

    def check_race(self, words: Words, *values: Any) -> None:
        """Refuses a race of one, or after nothing."""
        given = Given.of(values)
        speaks = self.stage.speaks(given.now, given.chosen)
        if given.text.strip() or not (speaks and given.talk.of(given.now).turns):
            self.check(words, *given)
        if not given.now.twin:
            raise refusal(words("race_needs_twin"))

    def run(self, words: Words, stop: Event, *values: Any) -> Iterator[Updates | None]:
        """Answers a message, or continues a text."""
        given, chosen = Given.of(values), values[5:]
        if self.stage.speaks(given.now, given.chosen):
            talk = given.talk.of(given.now).asked(given.text.strip())
            yield from self._speak(words, stop, talk, given.system, chosen, {self.stage.prompt: ""})
        else:
            yield from self._continue(words, stop, given, chosen)

    def again(self, words: Words, stop: Event, *values: Any) -> Iterator[Updates | None]:
        """Answers the last message once more."""
        given, chosen = Given.of(values), values[5:]
        talk = given.talk.of(given.now)
        yield from self._speak(words, stop, talk.again(), given.system, chosen, {}, talk.turns[-1].answers)

    def race(self, words: Words, stop: Event, *values: Any) -> Iterator[Updates | None]:
        """Times the models on what the dense one would be asked now, or was asked last."""
        given, (most, times) = Given.of(values), values[5:]
        lengths = whole(words("max_new_tokens"), most, words), whole(words("repeats"), times, words)
        ask = continuing(given.text)
        if self.stage.speaks(given.now, given.chosen):
            talk, text = given.talk.of(given.now), given.text.strip()
            ask = ask_turn(talk.asked(text) if text else talk, given.system, words)
        desk = self.stage.desk
        for shown, said in run_race(desk.engine, given.now, ask, *lengths, stop, words):
            yield {self.stage.below: shown} | desk.say(said) if shown else None

    def run_failed(self, words: Words, complaint: str, *values: Any) -> Updates:
        """The complaint; a message goes back into its field."""
        given = Given.of(values)
        if not self.stage.speaks(given.now, given.chosen):
            return self.stage.panes.fail(complaint, words)
        return self.again_failed(words, complaint, *values) | {self.stage.prompt: given.text}

    def again_failed(self, words: Words, complaint: str, *values: Any) -> Updates:
        """The conversation as it was, and the complaint."""
        given = Given.of(values)
        shown = self.stage.current(words, given.now, given.chosen, given.talk)
        return shown | {self.stage.below: note(complaint, "failure")}

    def race_failed(self, words: Words, complaint: str, *_: Any) -> Updates:
        """The complaint, the panes as they were."""
        return {self.stage.below: note(complaint, "failure")}

    def _continue(self, words: Words, stop: Event, given: Given, chosen: tuple[float, ...]) -> Iterator[Updates | None]:
        stage, engine = self.stage, self.stage.desk.engine
        about = captions(given.now, engine, words)
        waiting = {name: pane(name, words, "", live_line(None, words, False), about[name]) for name in about}
        yield stage.panes.show(waiting, words) | {stage.below: ""}
        sampling = sampling_of(*chosen, words=words)
        for scene in write_pair(engine, given.now, continuing(given.text), sampling, stop, words):
            if scene is None:
                yield None
                continue
            updates = stage.panes.show(contents(scene, about, given.text, words), words)
            yield updates | self._ending(scene, words) if scene.over else updates

    def _speak(
        self, words: Words, stop: Event, talk: Conversation, system: str, chosen: tuple[float, ...], at_once: Updates,
        earlier: Mapping[str, Picture] | None = None,
    ) -> Iterator[Updates | None]:  # fmt: skip
        stage, engine = self.stage, self.stage.desk.engine
        about, sampling = captions(talk.visit, engine, words), sampling_of(*chosen, words=words)
        yield stage.panes.show(chat_contents(talk, about, words), words) | {stage.below: ""} | at_once
        for news in converse(engine, talk, system, sampling, stop, words):
            if news is None:
                yield None
                continue
            talk, scene = news
            updates = stage.panes.show(chat_contents(talk, about, words), words)
            if scene.over:
                alike = earlier and sampling.temperature == 0 and same_again(talk.turns[-1], earlier)
                updates |= {stage.held: talk} | self._ending(scene, words, words("chat_same") if alike else "")
            yield updates

    def _ending(self, scene: Scene, words: Words, more: str = "") -> Updates:
        """What is said once both have ended."""
        line = " ".join(filter(None, [parting_line(scene, words), more]))
        return {self.stage.below: note(line, "verdict")} | self.stage.desk.say(f"{finished_line(scene, words)} {line}")
