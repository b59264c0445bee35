"""The Classify tab: label words scored by their log-likelihood, both models' probabilities as bars."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import gradio as gr

from models.console.stopping import give_way, interruptible
from ui.background.desk import Desk, Task, Updates
from ui.background.visitors import Visit
from ui.complaints import refusal, require_text, require_whole
from ui.engine import Engine
from ui.forms import form_of
from ui.pair import sides_of
from ui.parts.asked import asked_line
from ui.parts.example_lists import ExampleLists, first
from ui.parts.examples import CHAT_REVIEWS, REVIEWS
from ui.parts.html import bars, note, pane, quoted
from ui.parts.panes import build_buttons, build_panes
from ui.parts.strip import captions
from ui.tabs.scoring import LabelScores, score_labels
from ui.texts import Words, label

NAME = "classify"
MOST_LABELS = 20


@dataclass(frozen=True)
class Verdict:
    """One side's choice: its name, the form in which it was asked, and the scores of the labels."""

    side: str
    form: str
    scores: LabelScores

    @property
    def label(self) -> str:
        """The likeliest label."""
        return max(self.scores.probabilities, key=self.scores.probabilities.__getitem__)

    def notes(self, words: Words) -> list[str]:
        """What one must know to read the verdict, in sentences."""
        scores = self.scores
        return [words("text_cut", n=scores.dropped, context=scores.context)] if scores.dropped else []


def classify_pair(
    engine: Engine, visit: Visit, text: str, labels: Sequence[str], stop: Event, calibrated: bool = False
) -> Iterator[list[Verdict] | None]:
    """Scores the labels under each model on the worker; yields None as a heartbeat, last the verdicts, dense first.

    Setting `stop` raises Cancelled.
    """

    def work(publish) -> None:
        sides = sides_of(engine, visit)
        form = form_of(sides[0].loaded)
        verdicts = []
        for name, loaded in sides:
            give_way()
            with interruptible():
                verdicts.append(Verdict(name, form.name, score_labels(loaded, form, text, labels, calibrated)))
        publish(verdicts)

    yield from engine.worker.follow(work, stop)


def split_labels(text: str) -> list[str]:
    """The labels of a comma-separated list, each once; a Chinese comma separates too."""
    words = (" ".join(word.split()) for word in text.replace("，", ",").split(","))
    return list(dict.fromkeys(word for word in words if word))


def build_classify(desk: Desk) -> None:
    """Places the tab and wires it."""
    engine = desk.engine
    chats = engine.form(engine.default_model).chats
    begun = first(CHAT_REVIEWS, REVIEWS, chats)
    asked = gr.HTML(elem_id="classify-asked", apply_default_css=False)
    with gr.Row():
        text = gr.Textbox(
            begun[0], label=label("text"), placeholder=label("text_placeholder"), lines=3, max_lines=12, scale=2,
            min_width=280, elem_id="classify-text",
        )  # fmt: skip
        with gr.Column(min_width=200):
            labels = gr.Textbox(begun[1], label=label("labels"), elem_id="labels")
            calibrated = gr.Checkbox(
                chats, label=label("calibrated"), info=label("calibrated_info"), elem_id="calibrated"
            )
    examples = ExampleLists(NAME, [text, labels], CHAT_REVIEWS, REVIEWS, chats)
    buttons = build_buttons(NAME, "classify")
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="agreement", apply_default_css=False)
    chatted = gr.State(chats)

    def check(words: Words, now: Visit, review: str, names: str, *_: object) -> None:
        require_text(review, "need_text", words)
        require_whole(names, words)
        found = split_labels(names)
        if len(found) < 2:
            raise refusal(words("labels_need_two"))
        if len(found) > MOST_LABELS:
            raise refusal(words("labels_too_many", n=MOST_LABELS))

    def classify(
        words: Words, stop: Event, now: Visit, review: str, names: str, against: bool
    ) -> Iterator[Updates | None]:
        about = captions(now, engine, words)
        for verdicts in classify_pair(engine, now, review, split_labels(names), stop, bool(against)):
            if verdicts is None:
                yield None
                continue
            line = agreement(verdicts, words)
            cut = any(verdict.scores.dropped for verdict in verdicts)
            said = f"{line} {words('text_cut_said')}" if cut else line
            yield panes.show(contents(verdicts, about, words), words) | {below: note(line, "verdict")} | desk.say(said)

    def failed(words: Words, complaint: str, *_: object) -> Updates:
        return panes.fail(complaint, words)

    def empty(words: Words, now: Visit, review: str, names: str, before: bool) -> Updates:
        form = engine.form(now.model)
        said = {below: "", asked: asked_line(now.model, form, words)}
        if form.chats != before:  # to a chat model the prior of a word matters more than to one that learnt the labels
            said |= {calibrated: form.chats, chatted: form.chats}
        return panes.empty(now, words, words("bars_empty")) | said | examples.fit(form.chats, review, names)

    outputs = [*panes.components, below]
    desk.wire(
        buttons.run, buttons, Task(NAME, classify, failed, check), [desk.visit, text, labels, calibrated], outputs
    )
    desk.wire_stop(buttons, NAME)
    changed = [asked, text, labels, calibrated, chatted, *examples.components]
    desk.wire_refresh(empty, [*outputs, *changed], [text, labels, chatted])


def contents(verdicts: Sequence[Verdict], about: dict[str, str], words: Words) -> dict[str, str]:
    """The panes by side, as HTML. The labels keep the visitor's order, so that the two sides line up."""
    return {
        verdict.side: pane(
            verdict.side,
            words,
            bars([(word, share, remark(verdict, word, words)) for word, share in verdict.scores.probabilities.items()])
            + "".join(map(note, verdict.notes(words))),
            about=about.get(verdict.side, ""),
        )
        for verdict in verdicts
    }


def remark(verdict: Verdict, word: str, words: Words) -> str:
    """What a label's bar was made of."""
    value = f"{verdict.scores.log_likelihoods[word]:.2f}"
    if not verdict.scores.neutral:
        return words("log_likelihood", value=value)
    return words("log_likelihood_against", value=value, neutral=f"{verdict.scores.neutral[word]:.2f}")


def agreement(verdicts: Sequence[Verdict], words: Words) -> str:
    """Whether the two choose the same label."""
    dense = verdicts[0].label
    if len(verdicts) == 1:
        return words("dense_chooses", label=quoted(dense))
    pruned = verdicts[1].label
    if dense == pruned:
        return words("agree", label=quoted(dense))
    return words("disagree", dense=quoted(dense), pruned=quoted(pruned))
