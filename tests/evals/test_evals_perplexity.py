"""Perplexity and bits per byte against a textbook loop, against known probabilities, and in pairs."""

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.text_losses import scoring
from evals.text_losses.data import Text
from evals.text_losses.perplexity import ProtocolMismatch, compare, perplexity, score, summarise
from evals.text_losses.scoring import token_losses
from evals.text_losses.windows import encode_with_ends
from evals.texts import prose
from models.errors import Cancelled, EspalierError, RequestError
from models.loading import Loaded

TEXT = "The gardener ties the young branches to the wall. Café crème für 12 Gäste, 在花园里 🌳 it's asleep.\n\n" * 12


def textbook(model, tokenizer, text, length):
    """The GPTQ protocol as published pruning code takes it: one window after another, losses weighed by its length."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    count = ids.numel() // length
    weighed = []
    for at in range(count):
        window = ids[:, at * length : (at + 1) * length]
        with torch.no_grad():
            logits = model(window).logits
        mean = torch.nn.CrossEntropyLoss()(
            logits[:, :-1].reshape(-1, logits.shape[-1]).float(), window[:, 1:].reshape(-1)
        )
        weighed.append(mean.double() * length)
    return float(torch.exp(torch.stack(weighed).sum() / (count * length)))


@pytest.fixture
def loaded(tiny_model, tiny_tokenizer):
    return lambda family="llama", **options: Loaded(tiny_model(family, **options), tiny_tokenizer, None)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "bloom", "gpt_neox", "qwen3"])
@pytest.mark.parametrize("length", [None, 50])
def test_equals_the_textbook_loop(loaded, family, length):
    subject = loaded(family)
    value = perplexity(subject, TEXT, length=length, bos="text")[0].value
    context = 2048 if family == "bloom" else 128  # Bloom's configuration promises none
    window = length or min(context, len(subject.tokenizer(TEXT)["input_ids"]))
    assert value == pytest.approx(textbook(subject.model, subject.tokenizer, TEXT, window), rel=1e-5)


def test_large_vocabularies_go_by_pieces_with_the_same_result(loaded, monkeypatch):
    subject = loaded()
    whole = score(subject, TEXT).losses
    monkeypatch.setitem(scoring.PIECE_BYTES, "cpu", 4 * 320 * 7)  # seven positions' logits at a time
    np.testing.assert_allclose(score(subject, TEXT).losses, whole, rtol=1e-5, atol=1e-5)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(loaded):
    subject = loaded()
    torch.nn.init.zeros_(subject.model.lm_head.weight)
    scored = score(subject, TEXT)
    uniform, bits = summarise(scored)
    vocabulary = subject.model.config.vocab_size
    assert uniform.value == pytest.approx(vocabulary, rel=1e-6)
    ids, ends = encode_with_ends(subject.tokenizer, TEXT)
    covered = sum(ends[at] - ends[at - 1] for at in range(len(ids) // 128 * 128) if at % 128)
    assert bits.value == pytest.approx(scored.losses.size * log(vocabulary) / log(2) / covered, rel=1e-6)
    assert bits.interval[0] < bits.value < bits.interval[1]


def test_the_protocol_says_how_to_take_the_number_again(loaded):
    measurement = perplexity(loaded(), Text("mine", TEXT, "r1"), length=64)[0]
    protocol = measurement.protocol
    tokens = len(loaded().tokenizer(TEXT)["input_ids"])
    assert protocol["name"] == "gptq" and protocol["text"] == "mine" and protocol["text_revision"] == "r1"
    assert protocol["length"] == protocol["stride"] == 64
    assert protocol["windows"] == measurement.n == tokens // 64
    assert protocol["tokens_scored"] == tokens // 64 * 63
    assert protocol["bos"] is True and protocol["dtype"] == "float32"
    assert protocol["text_sha256"] == Text("", TEXT).sha256
    assert "shortened_from" not in protocol


def test_a_text_shorter_than_a_window_is_one_window_and_says_so(loaded):
    subject = loaded()
    text = "A short text about a wall and a tree that grows beside it, in the sun."
    measurement = perplexity(subject, text)[0]
    tokens = len(subject.tokenizer(text)["input_ids"])
    assert measurement.protocol["length"] == tokens and measurement.protocol["shortened_from"] == 128
    assert measurement.value == pytest.approx(textbook(subject.model, subject.tokenizer, text, tokens), rel=1e-5)
    assert measurement.interval[0] < measurement.value < measurement.interval[1]
    assert measurement.protocol["interval_over"] == "10 pieces of windows in blocks of 1"


def test_a_model_against_itself_differs_by_exactly_nothing(loaded):
    scored = score(loaded(), TEXT)
    difference, ratio = compare(scored, scored)
    assert (difference.value, difference.interval, difference.stderr) == (0, None, None)
    assert (ratio.value, ratio.interval, ratio.stderr) == (1, None, None)


def test_two_models_are_compared_in_pairs(loaded):
    first, second = score(loaded(), TEXT), score(loaded(seed=1), TEXT)
    difference, ratio = compare(first, second)
    values = [summarise(scored)[0].value for scored in (first, second)]
    assert ratio.value == pytest.approx(values[1] / values[0], rel=1e-9)
    assert difference.value == pytest.approx(log(ratio.value), rel=1e-9)
    assert ratio.interval == pytest.approx(tuple(exp(end) for end in difference.interval))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (dict(text=TEXT + "More."), "text_sha256"),
        (dict(text=TEXT, length=64), "length: 128 against 64"),
        (dict(text=TEXT, most=2), "windows"),
    ],
)
def test_two_protocols_are_not_compared(loaded, other, named):
    subject = loaded()
    with pytest.raises(ProtocolMismatch, match=named):
        compare(score(subject, TEXT), score(subject, **other))


def test_two_dtypes_are_not_compared(loaded):
    half = loaded()
    half.model.to(torch.bfloat16)
    with pytest.raises(ProtocolMismatch, match="dtype: float32 against bfloat16"):
        compare(score(loaded(), TEXT), score(half, TEXT))


@pytest.mark.parametrize("length", [0, 1, 129])
def test_an_impossible_window_is_refused(loaded, length):
    with pytest.raises(RequestError, match="2 to 128"):
        perplexity(loaded(), TEXT, length=length)


def test_an_unknown_protocol_is_refused(loaded):
    with pytest.raises(RequestError, match="gptq"):
        perplexity(loaded(), TEXT, protocol="strided")


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_refused(loaded, text):
    with pytest.raises(RequestError, match="empty"):
        perplexity(loaded(), text)


def test_damaged_weights_are_told(loaded):
    subject = loaded()
    subject.model.lm_head.weight.data[3, 3] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        perplexity(subject, TEXT)


def test_scoring_can_be_cancelled_and_reports_to_the_end(loaded):
    def cancel(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        score(loaded(), TEXT, progress=cancel)
    fractions = []
    score(loaded(), TEXT, progress=lambda fraction, message: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[-1] == 1


@given(st.integers(1, 9), st.integers(2, 40), st.data())
@settings(max_examples=25, deadline=None)
def test_losses_do_not_depend_on_the_batch(tiny_model, count, length, data):
    model = tiny_model()
    row = st.lists(st.integers(0, 319), min_size=length, max_size=length)
    windows = torch.tensor(data.draw(st.lists(row, min_size=count, max_size=count)))
    losses = token_losses(model, windows)
    assert losses.shape == (count, length - 1)
    alone = np.concatenate([token_losses(model, window[None]) for window in windows])
    np.testing.assert_allclose(losses, alone, rtol=1e-4, atol=1e-5)


def test_the_embedded_text_is_long_and_does_not_repeat():
    words = prose().split()
    assert 15_800 <= len(words) <= 20_000
    eights = [tuple(words[at : at + 8]) for at in range(len(words) - 7)]
    assert len(set(eights)) == len(eights)
