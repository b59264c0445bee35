"""The form in which a model is asked, and labels scored in it, against computations of their own."""

import copy
from math import exp

import pytest
import torch

from models import Loaded
from models.description import describe
from models.errors import RequestError
from training.formats import STOP, classification_prompt, question_prompt
from ui.forms import LABEL_LEAD, form_of, label_message
from ui.parts.asked import asked_line
from ui.tabs.scoring import NEUTRAL, score_labels
from ui.texts import Words

LABELS = ["bad", "good", "very good"]


@pytest.fixture(scope="module")
def loaded_as(tiny_model, tiny_tokenizer, tiny_chat_tokenizer):
    network = tiny_model()

    def make(chat=False, name="tiny", template=None):
        tokenizer = copy.deepcopy(tiny_chat_tokenizer if chat else tiny_tokenizer)
        tokenizer.chat_template = template or tokenizer.chat_template
        return Loaded(network, tokenizer, describe(network, name, "test"))

    return make


def log_likelihood(loaded, context: list[int], label: str) -> float:
    """log p(label | context) by one forward pass of the whole text."""
    tail = loaded.tokenizer(label, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([context + tail])).logits[0].float().log_softmax(-1)
    return sum(float(logits[len(context) - 1 + at, token]) for at, token in enumerate(tail))


def turn(loaded, text: str) -> list[int]:
    """The ids of the user's turn and of the assistant's up to a label, by transformers alone."""
    message = [{"role": "user", "content": label_message(text)}]
    asked = loaded.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return loaded.tokenizer(asked + LABEL_LEAD.strip(), add_special_tokens=False)["input_ids"]


def test_the_form_is_found_from_the_tokenizer_or_the_catalogue(loaded_as):
    assert form_of(loaded_as(chat=True)).name == "chat"
    assert form_of(loaded_as(chat=True, name="embedded")).name == "chat"
    assert form_of(loaded_as(name="embedded")).name == "instruction"
    assert form_of(loaded_as()).name == "plain"


def test_a_template_that_cannot_be_used_is_said_on_the_page(loaded_as):
    form = form_of(loaded_as(template="{{ raise_exception('broken') }}"))
    assert form.name == "plain" and "broken" in form.note
    line = asked_line("tiny", form, Words())
    assert "plain text" in line and "broken" in line
    with pytest.raises(RequestError, match="no chat template that can be used"):
        form.conversation([{"role": "user", "content": "Hi"}])


def test_the_page_says_the_form_and_the_language(loaded_as):
    chat, text = form_of(loaded_as(chat=True)), form_of(loaded_as(name="embedded"))
    assert "its chat template" in asked_line("smollm2", chat, Words()) and "English" in asked_line(
        "smollm2", chat, Words()
    )
    assert "the form it was trained on" in asked_line("embedded", text, Words())
    assert "plain text" in asked_line("smollm2", chat, Words(), continued=True)
    assert "English" not in asked_line("/some/folder", chat, Words())


def test_forms_of_text_ask_as_the_embedded_model_was_trained(loaded_as):
    form = form_of(loaded_as(name="embedded"))
    assert form.question("A cat.", "Who?") == (question_prompt("A cat.", "Who?"), (STOP,))
    assert form.choices("Fine.", ["good"]) == (classification_prompt("Fine."), [" good"], False)


def test_labels_are_scored_in_the_assistant_s_turn(loaded_as):
    loaded = loaded_as(chat=True)
    scores = score_labels(loaded, form_of(loaded), "A good tree.", LABELS, calibrated=False)
    wanted = {label: log_likelihood(loaded, turn(loaded, "A good tree."), f" {label}") for label in LABELS}
    assert scores.log_likelihoods == pytest.approx(wanted, abs=1e-4) and scores.neutral == {}
    total = sum(map(exp, wanted.values()))
    assert scores.probabilities == pytest.approx(
        {label: exp(value) / total for label, value in wanted.items()}, abs=1e-4
    )


@pytest.mark.parametrize("chat", [True, False])
def test_calibrated_scores_are_the_mutual_information_of_label_and_text(loaded_as, chat):
    loaded = loaded_as(chat=chat)
    scores = score_labels(loaded, form_of(loaded), "A good tree.", LABELS, calibrated=True)

    def value(text, label):
        prompt = turn(loaded, text) if chat else loaded.tokenizer(classification_prompt(text))["input_ids"]
        return log_likelihood(loaded, prompt, f" {label}")

    information = {label: value("A good tree.", label) - value(NEUTRAL, label) for label in LABELS}
    total = sum(map(exp, information.values()))
    assert scores.probabilities == pytest.approx({k: exp(v) / total for k, v in information.items()}, abs=1e-4)


def test_a_text_without_content_says_nothing_once_calibrated(loaded_as):
    loaded = loaded_as(chat=True)
    shares = score_labels(loaded, form_of(loaded), NEUTRAL, LABELS, calibrated=True).probabilities
    assert list(shares.values()) == pytest.approx([1 / 3] * 3, abs=1e-4)


def test_a_text_that_is_too_long_is_cut_behind_the_head_of_the_turn(loaded_as):
    loaded = loaded_as(chat=True)
    text = "A tree that bears fruit. " * 40
    scores = score_labels(loaded, form_of(loaded), text, LABELS, calibrated=False)
    whole, other = turn(loaded, text), turn(loaded, NEUTRAL)
    head = next(at for at, (one, two) in enumerate(zip(whole, other, strict=False)) if one != two)
    longest = max(len(loaded.tokenizer(f" {label}", add_special_tokens=False)["input_ids"]) for label in LABELS)
    room = 128 - longest + 1
    cut = whole[:head] + whole[len(whole) - (room - head) :]
    assert scores.dropped == len(whole) - room > 0 and head > 5
    assert scores.log_likelihoods["good"] == pytest.approx(log_likelihood(loaded, cut, " good"), abs=1e-4)
