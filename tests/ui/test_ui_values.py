"""Values that programs send: every wrong one, for every parameter of every endpoint, is told in one clear line."""

import inspect
import json
import math

import gradio as gr
import pytest

from models.errors import RequestError
from models.sampling import Sampling
from ui import endpoints
from ui.complaints import require_text
from ui.parts.choosing import settings_of
from ui.parts.sampling import sampling_of
from ui.texts import Words
from ui.values import arguments, real, text, whole

VALID = {
    "generate": dict(prompt="A tree", max_new_tokens=2),
    "classify": dict(text="A tree", labels="bad, good"),
    "answer": dict(context="A tree.", question="What?", max_new_tokens=2),
    "prune": dict(method="magnitude"),
}
NEVER = [None, [], {}, [1], True]  # of no parameter's type
WRONG = {
    str: [*NEVER, 5, 0.5, "\ud800"],
    int: [*NEVER, "5", "", 1.5, math.nan, math.inf, -(2**70)],
    float: [*NEVER, "0.5", "", math.nan, -math.inf, 2**2000],
    bool: [*NEVER[:-1], 1, 0.0, "true", ""],
}


@pytest.fixture
def called(fake_engine, monkeypatch):
    """The endpoints by name, as the page registers them, over a tiny model."""
    found = {}
    monkeypatch.setattr(gr, "api", lambda function, api_name, **options: found.__setitem__(api_name, function))
    endpoints.add_endpoints(fake_engine())

    def call(name, **values):
        answer = found[name](**values)
        return list(answer)[-1] if inspect.isgenerator(answer) else answer

    call.signatures = {name: inspect.signature(function).parameters for name, function in found.items()}
    return call


def complaint(call, name, **values) -> str:
    with pytest.raises(gr.Error) as caught:
        call(name, **values)
    return caught.value.message


def one_clear_line(message: str) -> bool:
    unclear = ("went wrong", "Traceback", "Error:", " --", "\n")
    return bool(message) and not any(part in message for part in unclear)


@pytest.mark.parametrize("name", VALID)
def test_every_value_of_a_wrong_kind_is_told_by_the_name_of_its_parameter(called, name):
    assert called(name, **VALID[name])
    for parameter, described in called.signatures[name].items():
        for value in WRONG[described.annotation]:
            message = complaint(called, name, **VALID[name] | {parameter: value})
            assert one_clear_line(message) and parameter in message, (parameter, value, message)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("seed", -1), ("seed", 2**64), ("seed", 2**70), ("max_new_tokens", 0), ("max_new_tokens", -5), ("top_k", -1),
        ("temperature", 11), ("temperature", 1e-300), ("top_p", 0), ("top_p", 1.5), ("min_p", -0.5),
        ("repetition_penalty", 0), ("repetition_penalty", 1e300),
    ],
)  # fmt: skip
def test_every_number_out_of_range_is_told(called, parameter, value):
    message = complaint(called, "generate", **VALID["generate"] | {parameter: value})
    assert one_clear_line(message) and parameter in message and "must be" in message or "must lie" in message


def test_the_ends_of_the_ranges_are_taken(called):
    extreme = dict(seed=2**64 - 1, top_k=2**70, temperature=0.0001, top_p=1e-6, min_p=1, repetition_penalty=100)
    assert called("generate", **VALID["generate"], **extreme)["dense"]["tokens"] == 2


def test_more_tokens_than_the_context_holds_are_cut_and_it_is_said(called):
    side = called("generate", prompt="A tree", max_new_tokens=2**70)["dense"]
    assert side["finished"] in ("context", "end")
    assert (side["finished"] == "context") == bool(side["notes"])


def test_a_call_with_missing_or_unknown_parameters_is_told(called):
    assert "prompt" in complaint(called, "generate", max_new_tokens=3)
    assert "give prompt, max_new_tokens" in complaint(called, "generate", prompt="x", tokens=3)


def test_numbers_as_javascript_writes_them_are_taken():
    assert whole("seed", 5.0) == 5 and isinstance(whole("seed", 5.0), int)
    assert real("top_p", 1) == 1.0 and isinstance(real("top_p", 1), float)
    assert text("prompt", "树") == "树"


def test_a_wrong_value_is_shown_as_json_and_cut():
    with pytest.raises(RequestError, match="null"):
        whole("seed", None)
    with pytest.raises(RequestError) as caught:
        text("prompt", ["x" * 1000])
    assert len(str(caught.value)) < 150


def test_arguments_are_checked_by_their_types():
    def function(prompt: str, seed: int = 0, share: float = 0.5): ...

    assert arguments(function, ["x", 3.0], {"share": 1}) == {"prompt": "x", "seed": 3, "share": 1.0}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_field_that_was_cleared_is_named_as_the_page_names_it(language):
    words = Words(language)
    values = [96, 0, 1, 0, 0, 1.3, 0]
    for at, key in enumerate(["max_new_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"]):
        with pytest.raises(RequestError) as caught:
            sampling_of(*values[:at], None, *values[at + 1 :], words=words)
        assert words(key) in str(caught.value)
    assert sampling_of(*values[:-1], None, words=words).seed == 0
    with pytest.raises(RequestError):
        settings_of([], "wanda", None, "unstructured", "none", words=words)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_no_sampling_has_a_seed_that_no_generator_takes(seed):
    with pytest.raises(RequestError, match="seed"):
        Sampling(seed=seed)


def test_answers_are_json(called):
    for name, values in VALID.items():
        json.dumps(called(name, **values), allow_nan=False)


@pytest.mark.parametrize("given", ["half \ud83d", "nul \0"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_takes_no_half_of_a_character(given, language):
    words = Words(language)
    with pytest.raises(gr.Error) as caught:
        require_text(given, "need_prompt", words)
    assert caught.value.message == words("half_characters")
    require_text("whole \U0001f600", "need_prompt", words)


@pytest.mark.parametrize("name", ["generate", "classify", "answer"])
def test_nul_is_told_by_the_name_of_its_parameter(called, name):
    parameter = next(iter(VALID[name]))
    assert complaint(called, name, **VALID[name] | {parameter: "nul \0"}).startswith(f"The {parameter} holds a NUL")
