"""Messages on the page and its API: no options of the command line."""

import re
import threading
from pathlib import Path

import gradio as gr
import pytest

from models.errors import EspalierError, RequestError
from ui.background.streaming import write_together
from ui.complaints import explain
from ui.endpoints import explained
from ui.methods import methods_of_registry
from ui.plain_words import ELSEWHERE, without_options
from ui.texts import LANGUAGES, Words

FLOORS = ("models", "pruning", "evals", "training")
ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z]")


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ("There is no card: use --device cpu.", "There is no card: use the device cpu."),
        (
            "Use fewer --samples, a shorter --sequence-length.",
            "Use fewer calibration samples, a shorter calibration length.",
        ),
        ("Leave --sparsity away or choose another pattern.", "Leave the sparsity away or choose another pattern."),
        ("Use --method a or b.", "Use the method a or b."),
        ("Unpack it first (python -m pruning unpack DIR --out DIR).", "Unpack it first (by the command line)."),
        ("Join them first (llama-gguf-split --merge).", "Join them first (llama-gguf-split)."),
        ("Add --some-new-option to it.", "Add the some new option to it."),
        ("From a -- b to x--y.", "From a -- b to x--y."),
    ],
)
def test_options_are_called_by_what_they_are_about(message, plain):
    assert without_options(message).removesuffix(ELSEWHERE).strip() == plain


def test_an_option_without_a_counterpart_here_says_where_it_is():
    assert "command line" in without_options("Try --dtype float32.")
    assert "command line" not in without_options("Try --method magnitude.")


def test_no_message_of_the_lower_floors_keeps_an_option():
    lines = [
        line
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if OPTION.search(line) and '"' in line
    ]
    assert len(lines) > 50
    assert [line for line in lines if OPTION.search(without_options(line))] == []


def test_complaints_of_the_page_and_its_endpoints_have_none():
    def broken() -> dict:
        raise RequestError("The pattern fixes it: omit --sparsity.")

    with pytest.raises(gr.Error) as caught:
        explained(broken)()
    assert caught.value.message == "The pattern fixes it: omit the sparsity."
    for error in (EspalierError("try --dtype float32"), ValueError("bad --dtype\nnews")):
        for language in LANGUAGES:
            assert not OPTION.search(explain(error, Words(language)))


def test_the_error_in_a_pane_is_worded_for_the_page():
    class Writer:
        def __init__(self, error):
            self.ids, self.text, self.finished, self.seconds, self.token_times = [], "", None, 0.0, []
            self._error = error

        def step(self):
            if self._error:
                raise self._error
            self.finished = "end"

        def close(self):
            self.finished = self.finished or "stopped"

    writers = [Writer(EspalierError("Use --device cpu.")), Writer(None)]
    seen = write_together(writers, lambda now: None, threading.Event(), explain=lambda error: explain(error, Words()))
    assert seen[0].error.startswith("Use the device cpu.") and seen[1].error == ""


def test_what_the_page_tells_of_methods_has_none():
    for method in methods_of_registry():
        assert not OPTION.search(" ".join([method.summary, *method.solvers.values()]))
