"""What is shown: nothing of a model's or a visitor's text is ever read as HTML, and figures read well."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.background.streaming import Picture
from ui.background.visitors import Visit
from ui.background.writing import Parting, Scene
from ui.parts.html import bars, live_line, number, written
from ui.tabs.answer import contents as answer_contents
from ui.tabs.answer import find_answer, find_piece
from ui.tabs.classify import Verdict, agreement, split_labels
from ui.tabs.classify import contents as classify_contents
from ui.tabs.continuation import contents as generate_contents
from ui.tabs.continuation import parting_line
from ui.tabs.conversation import Conversation
from ui.tabs.scoring import LabelScores
from ui.tabs.speaking import chat_contents
from ui.texts import Words

EVIL = '<img src=x onerror="alert(1)">&amp;\'"'
WORDS = Words()


def picture(text="", tokens=1, first=0.02, rate=40.0, finished="length", error=""):
    return Picture(text, tokens, first, rate, finished, error)


def test_nothing_foreign_becomes_an_element():
    scene = Scene(("dense", "pruned"), (picture(EVIL), picture(EVIL, error=EVIL)), True)
    about = {"dense": EVIL, "pruned": EVIL}
    verdicts = [Verdict("dense", "chat", LabelScores({EVIL: -1.0}, {}, 0, 512))]
    shown = [
        *generate_contents(scene, about, EVIL, WORDS).values(),
        *answer_contents(scene, about, EVIL, WORDS).values(),
        *classify_contents(verdicts, about, WORDS).values(),
        *chat_contents(Conversation(Visit("m", "t")).asked(EVIL).answered(scene), about, WORDS).values(),
    ]
    assert len(shown) == 7
    assert all("<img" not in html and "&lt;img" in html for html in shown)


@given(st.text(max_size=30), st.data())
def test_a_mark_changes_no_letter(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    marked = written("", picture(text), (start, end)).replace('<mark class="parting">', "").replace("</mark>", "")
    assert marked == written("", picture(text))


def test_the_live_line_has_the_figures_and_says_what_is_going_on():
    line = live_line(picture(tokens=128, first=0.0221, rate=41.04, finished=None), WORDS, shared=True)
    assert "<b>128</b> tokens" in line and "<b>22 ms</b>" in line and "<b>41.0</b> tok/s" in line
    assert "share the machine" in line
    assert "share" not in live_line(picture(finished=None), WORDS, shared=False)
    assert "reached the length" in live_line(picture(finished="length"), WORDS, shared=True)


def test_a_model_that_reads_all_anew_says_so():
    slow = replace(picture(finished=None), rereads=True)
    assert WORDS("rereads_help") in live_line(slow, WORDS, shared=True)
    assert WORDS("rereads") not in live_line(picture(finished=None), WORDS, shared=True)


@pytest.mark.parametrize("reason", ["end", "length", "context", "stop", "stopped"])
def test_every_end_of_a_generation_has_its_words(reason):
    assert WORDS(f"ended_{reason}") in live_line(picture(finished=reason), WORDS, shared=True)


def test_bars_are_as_long_as_the_shares():
    html = bars([("yes", 0.25, ""), ("no", 0.75, "")])
    assert "width:25.00%" in html and "width:75.00%" in html and "25.0 %" in html


@pytest.mark.parametrize(("value", "text"), [(0.98, "0.98"), (41.04, "41.0"), (1204.4, "1,204"), (float("nan"), "–")])
def test_numbers_have_three_digits_or_so(value, text):
    assert number(value) == text


def test_where_two_texts_part_is_said_in_a_sentence():
    pictures = (picture("a cat", finished="length"), picture("a dog", finished="length"))
    parting = Parting(2, 1, False, ((1, 5), (1, 5)))
    line = parting_line(Scene(("dense", "pruned"), pictures, True, parting), WORDS)
    assert "token 2" in line and "“ cat”" in line and "“ dog”" in line
    assert "same" in parting_line(Scene(("dense", "pruned"), pictures, True, Parting(None, 5, True)), WORDS)
    assert parting_line(Scene(("dense",), pictures[:1], True), WORDS) == ""


@pytest.mark.parametrize(
    ("answer", "context", "found"),
    [
        ("1862", "built in 1862.", "1862"),
        (" thomas reed.", "by Thomas Reed, who", "Thomas Reed"),
        ("1900", "built in 1862.", None),
        ("", "anything", None),
        ("...", "so it goes...", None),
        ("İ", "an İ here", "İ"),
    ],
)
def test_an_answer_is_found_where_it_stands(answer, context, found):
    span = find_answer(answer, context)
    assert (context[slice(*span)] if span else None) == found


@pytest.mark.parametrize(
    ("answer", "context", "found"),
    [
        ("The tower was built in 1862.", "The lighthouse was built in 1862 by Reed.", "was built in 1862"),
        ("It gives 40 km², or so", "It has 40 km², they say", "40 km²"),
        ("built long ago", "it was built in 1862", None),
        ("nothing at all", "", None),
    ],
)
def test_of_a_sentence_the_piece_that_stands_in_the_context_is_found(answer, context, found):
    span = find_piece(answer, context)
    assert (context[slice(*span)] if span else None) == found


def test_labels_are_split_and_each_taken_once():
    assert split_labels(" bad, good ,,bad，fine  day") == ["bad", "good", "fine day"]
    assert split_labels(" , ") == []


def test_agreement_is_said():
    dense = Verdict("dense", "plain", LabelScores({"a": -1, "b": -2}, {}, 0, 512))
    pruned = Verdict("pruned", "plain", LabelScores({"a": -2, "b": -1}, {}, 0, 512))
    assert "disagree" in agreement([dense, pruned], WORDS)
    assert "Both" in agreement([dense, dense], WORDS)
    assert "dense model chooses" in agreement([dense], WORDS)
