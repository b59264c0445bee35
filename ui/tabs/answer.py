"""The Answer tab: a context and a question; both models' answers, and where in the context they stand."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import escape
from threading import Event

import gradio as gr

from models.sampling import Sampling
from ui.background.desk import Desk, Task, Updates
from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.background.writing import Ask, Scene, write_pair
from ui.complaints import require_text
from ui.parts.asked import asked_line
from ui.parts.example_lists import ExampleLists, first
from ui.parts.examples import CHAT_QUESTIONS, QUESTIONS
from ui.parts.html import failure, live_line, note, pane, quiet, quoted
from ui.parts.panes import build_buttons, build_panes
from ui.parts.strip import captions
from ui.texts import Words, label

NAME = "answer"
LONGEST = 48  # tokens of an answer


def answer_sampling(max_new_tokens: int = LONGEST) -> Sampling:
    """Greedy; where an answer stops comes with the form in which the model is asked."""
    return Sampling(max_new_tokens=max_new_tokens)


def asking(context: str, question: str) -> Ask:
    """A question on a context, in the form of the model."""
    return lambda form, side: form.question(context, question)


def find_answer(answer: str, context: str) -> tuple[int, int] | None:
    """Where an answer stands in its context (start, end), upper and lower case alike; None if it does not."""
    wanted = answer.strip().strip(".,;:").casefold()
    folded = context.casefold()
    # A few letters change their length when folded; then positions would be wrong, so case counts.
    if len(folded) != len(context):
        wanted, folded = answer.strip().strip(".,;:"), context
    start = folded.find(wanted) if wanted else -1
    return (start, start + len(wanted)) if start >= 0 else None


def find_piece(answer: str, context: str) -> tuple[int, int] | None:
    """Where the longest piece of an answer of several words stands in its context; None if no two words of it do.

    A model that answers in a sentence repeats of the context what it found there.
    """
    said, given = ([*re.finditer(r"\w+", text.casefold())] for text in (answer, context))
    if len(context.casefold()) != len(context):
        return None
    words = [[word[0] for word in found] for found in (said, given)]
    run = SequenceMatcher(None, *words, autojunk=False).find_longest_match()
    return (given[run.b].start(), given[run.b + run.size - 1].end()) if run.size > 1 else None


def build_answer(desk: Desk) -> None:
    """Places the tab and wires it."""
    engine = desk.engine
    chats = engine.form(engine.default_model).chats
    begun = first(CHAT_QUESTIONS, QUESTIONS, chats)
    asked = gr.HTML(elem_id="answer-asked", apply_default_css=False)
    with gr.Row():
        context = gr.Textbox(
            begun[0], label=label("context"), placeholder=label("context_placeholder"), lines=4, max_lines=14, scale=2,
            min_width=280, elem_id="context",
        )  # fmt: skip
        question = gr.Textbox(
            begun[1], label=label("question"), placeholder=label("question_placeholder"), lines=2, max_lines=4,
            min_width=200, elem_id="question",
        )  # fmt: skip
    examples = ExampleLists(NAME, [context, question], CHAT_QUESTIONS, QUESTIONS, chats)
    buttons = build_buttons(NAME, "answer")
    panes = build_panes(NAME)
    below = gr.HTML(elem_id="same-answer", apply_default_css=False)

    def check(words: Words, now: Visit, passage: str, wanted: str) -> None:
        require_text(passage, "need_context", words)
        require_text(wanted, "need_question", words)

    def answer(words: Words, stop: Event, now: Visit, passage: str, wanted: str) -> Iterator[Updates | None]:
        about = captions(now, engine, words)
        for scene in write_pair(engine, now, asking(passage, wanted), answer_sampling(), stop, words):
            if scene is None:
                yield None
                continue
            updates = panes.show(contents(scene, about, passage, words), words)
            if scene.over:
                line = comparison(scene, words)
                updates |= {below: note(line, "verdict")} | desk.say(line)
            yield updates

    def failed(words: Words, complaint: str, *_: object) -> Updates:
        return panes.fail(complaint, words)

    def empty(words: Words, now: Visit, passage: str, wanted: str) -> Updates:
        form = engine.form(now.model)
        said = {below: "", asked: asked_line(now.model, form, words)}
        return panes.empty(now, words, words("answer_empty")) | said | examples.fit(form.chats, passage, wanted)

    outputs = [*panes.components, below]
    desk.wire(buttons.run, buttons, Task(NAME, answer, failed, check), [desk.visit, context, question], outputs)
    desk.wire_stop(buttons, NAME)
    desk.wire_refresh(empty, [*outputs, asked, context, question, *examples.components], [context, question])


def contents(scene: Scene, about: dict[str, str], context: str, words: Words) -> dict[str, str]:
    """The panes by side, as HTML."""
    return {
        name: pane(
            name,
            words,
            _answered(picture, context, words),
            live_line(picture, words, shared=len(scene.names) > 1),
            about.get(name, ""),
        )
        for name, picture in zip(scene.names, scene.pictures, strict=False)
    }


def comparison(scene: Scene, words: Words) -> str:
    """Whether the two give the same answer."""
    if any(picture.finished == "stopped" for picture in scene.pictures):
        return words("stopped")
    texts = [picture.text.strip() for picture in scene.pictures]
    if len(texts) == 1:
        return words("dense_answers", answer=quoted(texts[0]))
    if texts[0].casefold() == texts[1].casefold():
        return words("answers_agree", answer=quoted(texts[0]))
    return words("answers_differ", dense=quoted(texts[0]), pruned=quoted(texts[1]))


def _answered(picture: Picture, context: str, words: Words) -> str:
    said = picture.text.strip()
    if picture.error:
        return failure(picture.error)
    if not said:
        return quiet(words("answer_none") if picture.finished else "")
    body = f'<p class="answer" dir="auto">{escape(said)}</p>'
    if not picture.finished:
        return body
    if (found := find_answer(said, context) or find_piece(said, context)) is None:
        return body + quiet(words("answer_not_found"))
    start, end = found
    marked = f"{escape(context[:start])}<mark>{escape(context[start:end])}</mark>{escape(context[end:])}"
    return f'{body}<p class="evidence" dir="auto">{marked}</p>'
