"""Perplexity and bits per byte against a textbook loop, against known probabilities, and in pairs."""

from math import exp, log, prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import perplexity as module
from evals.data import Text
from evals.perplexity import ProtocolMismatch, compare, perplexity, score, summarise, token_losses
from evals.texts import prose
from evals.windows import encode_with_ends, gptq_windows
from models.errors import Cancelled, EspalierError, RequestError
from models.loading import Loaded

TEXT = "The gardener ties the young branches to the wall. Café crème für 12 Gäste, 在花园里 🌳 it's asleep.\n\n" * 12


def textbook(model, tokenizer, text, length):
    """The GPTQ protocol as its papers' code has it, one window after another."""
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    losses = []
    for at in range(ids.shape[1] // length):
        window = ids[:, at * length : (at + 1) * length]
        with torch.no_grad():
            logits = model(window).logits.float()
        losses.append(torch.nn.functional.cross_entropy(logits[0, :-1], window[0, 1:]).double())
    return exp(torch.stack(losses).mean())


@pytest.fixture
def loaded(tiny_model, tiny_tokenizer):
    return lambda family="llama", **options: Loaded(tiny_model(family, **options), tiny_tokenizer, None)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "bloom", "gpt_neox", "qwen3"])
@pytest.mark.parametrize("length", [None, 50])
def test_equals_the_textbook_loop(loaded, family, length):
    subject = loaded(family)
    value = perplexity(subject, TEXT, length=length)[0].value
    context = 2048 if family == "bloom" else 128  # Bloom's configuration promises none
    window = length or min(context, len(subject.tokenizer(TEXT)["input_ids"]))
    assert value == pytest.approx(textbook(subject.model, subject.tokenizer, TEXT, window), rel=1e-5)


def test_large_vocabularies_go_by_pieces_with_the_same_result(loaded, monkeypatch):
    subject = loaded()
    whole = score(subject, TEXT).losses
    monkeypatch.setattr(module, "LOGIT_BYTES", 4 * 320 * 7)  # seven positions' logits at a time
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
    assert measurement.protocol["interval_over"] == "8 pieces of windows"


def test_a_model_against_itself_differs_by_exactly_nothing(loaded):
    scored = score(loaded(), TEXT)
    difference, ratio = compare(scored, scored)
    assert (difference.value, difference.interval) == (0, (0, 0))
    assert (ratio.value, ratio.interval) == (1, (1, 1))


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


@given(st.text(min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_the_tokens_cover_every_byte_of_the_text_once(tiny_tokenizer, text):
    text = text.encode("utf-8", "ignore").decode()
    ids, ends = encode_with_ends(tiny_tokenizer, text)
    assert len(ids) == len(ends)
    assert (np.diff(ends) >= 0).all()
    assert ends[-1] == len(text.encode())


def test_a_tokenizer_without_offsets_counts_bytes_by_decoding(tiny_tokenizer):
    class Slow:
        is_fast = False
        bos_token_id = tiny_tokenizer.bos_token_id
        decode = staticmethod(tiny_tokenizer.decode)

        def __call__(self, text, return_offsets_mapping, verbose):
            assert not return_offsets_mapping
            return tiny_tokenizer(text)

    text = "The gardener ties the young branches to the wall, and cuts the others."
    ids, ends = encode_with_ends(Slow(), text)
    assert list(ends) == list(encode_with_ends(tiny_tokenizer, text)[1])


def test_windows_are_disjoint_and_drop_the_tail(tiny_tokenizer):
    windows = gptq_windows(tiny_tokenizer, Text("t", TEXT), 128, 100)
    ids = tiny_tokenizer(TEXT)["input_ids"]
    assert windows.ids.flatten().tolist() == ids[: prod(windows.ids.shape)]
    assert len(ids) - prod(windows.ids.shape) < 100
    assert windows.bytes.shape == (windows.ids.shape[0], 99)


def test_the_embedded_text_is_long_and_does_not_repeat():
    words = prose().split()
    assert 3500 <= len(words) <= 4700
    eights = [tuple(words[at : at + 8]) for at in range(len(words) - 7)]
    assert len(set(eights)) == len(eights)
