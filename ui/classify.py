"""The Classify tab: label words scored by their log-likelihood, both models' probabilities as bars."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import gradio as gr

from training.formats import SENTIMENT_LABELS, classification_prompt, completion
from models.description import context_length
from models.stopping import give_way, interruptible
from ui.complaints import refusal, require_text, require_whole
from ui.desk import Desk, Task, Updates
from ui.engine import Engine
from ui.examples import REVIEWS
from ui.html import bars, note, pane, quoted
from ui.pair import sides_of
from ui.panes import build_buttons, build_panes
from ui.strip import captions
from ui.texts import Words, label
from ui.visitors import Visit

NAME = "classify"
MOST_LABELS = 20


@dataclass(frozen=True)
class Verdict:
    """One side's choice: its name, and for each label its probability and log-likelihood (nats).

    `dropped` is how many tokens of the text's beginning were left out, since the model reads `context` at most.
    """

    side: str
    probabilities: dict[str, float]
    log_likelihoods: dict[str, float]
    dropped: int = 0
    context: int = 0

    @property
    def label(self) -> str:
        """The likeliest label."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def notes(self, words: Words) -> list[str]:
        """What one must know to read the verdict, in sentences."""
        return [words("text_cut", n=self.dropped, context=self.context)] if self.dropped else []


def classify_pair(
    engine: Engine, visit: Visit, text: str, labels: Sequence[str], stop: Event
) -> Iterator[list[Verdict] | None]:
    """Scores the labels under each model on the worker; yields None as a heartbeat, last the verdicts, dense first.

    Setting `stop` raises Cancelled.
    """
    from evals.asking.likelihood import probabilities, score_choices

    def work(publish) -> None:
        verdicts = []
        for name, loaded in sides_of(engine, visit):
            give_way()
            prompt = classification_prompt(text)
            with interruptible():
                scores = score_choices(loaded.model, loaded.tokenizer, prompt, [completion(word) for word in labels])
            shares = dict(zip(labels, probabilities(scores)))
            sums = {word: score.log_likelihood for word, score in zip(labels, scores)}
            context = context_length(loaded.model.config.get_text_config())
            verdicts.append(Verdict(name, shares, sums, scores[0].dropped, context))
        publish(verdicts)

    yield from engine.worker.follow(work, stop)


def split_labels(text: str) -> list[str]:
    """The labels of a comma-separated list, each once; a Chinese comma separates too."""
    words = (" ".join(word.split()) for word in text.replace("，", ",").split(","))
    return list(dict.fromkeys(word for word in words if word))


def build_classify(desk: Desk) -> None:
    """Places the tab and wires it."""
    first = next(iter(REVIEWS.values()))
    with gr.Row():
        text = gr.Textbox(
            first[0], label=label("text"), placeholder=label("text_placeholder"), lines=3, max_lines=12, scale=2,
            min_width=280, elem_id="classify-text",
        )  # fmt: skip
        labels = gr.Textbox(", ".join(SENTIMENT_LABELS), label=label("labels"), min_width=200, elem_id="labels")
    gr.Examples(
        [list(example) for example in REVIEWS.values()], [text, labels], example_labels=list(REVIEWS),
        label=label("examples"), cache_examples=False, api_visibility="private", elem_id="examples-classify",
    )  # fmt: skip
    buttons = build_buttons(NAME, "classify")
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="agreement", apply_default_css=False)

    def check(words: Words, now: Visit, review: str, names: str) -> None:
        require_text(review, "need_text", words)
        require_whole(names, words)
        found = split_labels(names)
        if len(found) < 2:
            raise refusal(words("labels_need_two"))
        if len(found) > MOST_LABELS:
            raise refusal(words("labels_too_many", n=MOST_LABELS))

    def classify(words: Words, stop: Event, now: Visit, review: str, names: str) -> Iterator[Updates | None]:
        about = captions(now, desk.engine, words)
        for verdicts in classify_pair(desk.engine, now, review, split_labels(names), stop):
            if verdicts is None:
                yield None
                continue
            line = agreement(verdicts, words)
            said = f"{line} {words('text_cut_said')}" if any(verdict.dropped for verdict in verdicts) else line
            yield panes.show(contents(verdicts, about, words), words) | {below: note(line, "verdict")} | desk.say(said)

    def failed(words: Words, complaint: str, *_: object) -> Updates:
        return panes.fail(complaint, words)

    def empty(words: Words, now: Visit) -> Updates:
        return panes.empty(now, words, words("bars_empty")) | {below: ""}

    outputs = [*panes.components, below]
    desk.wire(buttons.run, buttons, Task(NAME, classify, failed, check), [desk.visit, text, labels], outputs)
    desk.wire_stop(buttons, NAME)
    desk.wire_refresh(empty, outputs)


def contents(verdicts: Sequence[Verdict], about: dict[str, str], words: Words) -> dict[str, str]:
    """The panes by side, as HTML. The labels keep the visitor's order, so that the two sides line up."""
    return {
        verdict.side: pane(
            verdict.side,
            words,
            bars([
                (word, share, words("log_likelihood", value=f"{verdict.log_likelihoods[word]:.2f}"))
                for word, share in verdict.probabilities.items()
            ]) + "".join(map(note, verdict.notes(words))),
            about=about.get(verdict.side, ""),
        )
        for verdict in verdicts
    }  # fmt: skip


def agreement(verdicts: Sequence[Verdict], words: Words) -> str:
    """Whether the two choose the same label."""
    dense = verdicts[0].label
    if len(verdicts) == 1:
        return words("dense_chooses", label=quoted(dense))
    pruned = verdicts[1].label
    if dense == pruned:
        return words("agree", label=quoted(dense))
    return words("disagree", dense=quoted(dense), pruned=quoted(pruned))
