"""Each named protocol against a plain loop of its definition: which tokens it scores, after what, how they weigh."""

import re
from math import exp, log
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import protocols
from evals.protocols import Request
from evals.protocols.lm_eval import rolling_spans
from evals.protocols.lm_eval_wikitext import detokenised
from evals.text_losses.data import Text
from evals.text_losses.perplexity import compare, perplexity, score, summarise
from models.errors import RequestError
from models.loading import Loaded

DOCUMENTS = (
    "The gardener ties the young branches to the wall.",
    " ".join(f"In the year {year} the wall bore {year % 7} pears, in 花园里 none." for year in range(1900, 1930)),
    "Café crème für 12 Gäste 🌳\n\n it's asleep. ",
    "A tree that is pruned well bears more fruit.  " * 6,
)
TEXT = Text("four", "\n\n".join(DOCUMENTS), None, DOCUMENTS)


@pytest.fixture
def loaded(tiny_model, tiny_tokenizer):
    return lambda family="llama", **options: Loaded(tiny_model(family, **options), tiny_tokenizer, None)


def log_probabilities(model, context, targets):
    """log p of each target after the context and the targets before it, all in one window."""
    ids = torch.tensor([[*context, *targets]])
    with torch.no_grad():
        logs = torch.log_softmax(model(ids).logits[0].double(), -1)
    return [float(logs[len(context) - 1 + at, target]) for at, target in enumerate(targets)]


def by_name(measurements):
    return {each.metric: each for each in measurements}


def test_the_names_are_listed_the_default_first_without_torch():
    assert protocols.names() == ["gptq", "evaluate", "hf-stride", "lm-eval", "lm-eval-wikitext"]
    assert all(protocols.find(name).name == name for name in protocols.names())


# hf-stride


@pytest.mark.parametrize(("length", "stride"), [(None, None), (100, 30), (50, 50), (64, 9), (128, 127)])
def test_with_a_stride_every_token_but_the_first_is_scored_once(loaded, length, stride):
    subject = loaded()
    ids = subject.tokenizer(TEXT.content)["input_ids"]
    window, step = length or 128, stride or 64
    total, count, scored = 0.0, 0, 1
    for begin in range(0, len(ids), step):
        end = min(begin + window, len(ids))
        here = log_probabilities(subject.model, ids[begin : begin + 1], ids[begin + 1 : end])
        fresh = [value for at, value in enumerate(here, begin + 1) if at >= scored]
        total, count, scored = total - sum(fresh), count + len(fresh), end
        if end == len(ids):
            break
    found = by_name(perplexity(subject, TEXT, "hf-stride", length, stride=stride))
    assert found["perplexity"].value == pytest.approx(exp(total / count), rel=1e-5)
    protocol = found["perplexity"].protocol
    assert (protocol["length"], protocol["stride"], protocol["tokens_scored"]) == (window, step, count)
    if step < window:
        assert count == len(ids) - 1
        assert found["bits_per_byte"].value == pytest.approx(total / log(2) / len(TEXT.content.encode()), rel=1e-5)


def test_disjoint_strides_weigh_as_the_guide_of_transformers_does(loaded):
    subject = loaded()
    ids = torch.tensor([subject.tokenizer(TEXT.content)["input_ids"]])
    sums = tokens = 0.0
    for begin in range(0, ids.shape[1], 128):
        window = ids[:, begin : begin + 128]
        with torch.no_grad():
            loss = subject.model(window, labels=window).loss
        sums, tokens = sums + float(loss) * (window.shape[1] - 1), tokens + window.shape[1] - 1
    found = perplexity(subject, TEXT, "hf-stride", 128, stride=128)[0]
    assert found.value == pytest.approx(exp(sums / tokens), rel=1e-5)


@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_strided_windows_score_every_token_once(tiny_tokenizer, length, stride, words):
    text = Text("words", "a tree " * words + "grows")
    request = Request(40, length, stride)
    if stride > length:
        with pytest.raises(RequestError, match=f"choose 1 to {length}"):
            protocols.find("hf-stride").cut(tiny_tokenizer, text, request)
        return
    windows = protocols.find("hf-stride").cut(tiny_tokenizer, text, request)
    tokens = tiny_tokenizer(text.content)["input_ids"]
    scored = [int(token) for ids, first in zip(windows.ids, windows.first, strict=True) for token in ids[first:]]
    assert all(len(ids) <= length for ids in windows.ids)
    expected = tokens[1:] if stride < length else [token for at, token in enumerate(tokens) if at % length]
    assert scored == expected


# lm-eval


def harness(model, tokenizer, document, length, special=True):
    """The sum of log-likelihoods of a document as lm-evaluation-harness rolls over it."""
    tokens = tokenizer(document, add_special_tokens=special)["input_ids"]
    total, done = 0.0, 0
    while done < len(tokens):
        taken = min(length, len(tokens) - done)
        # The window is filled up on its left with as much context as the model can read.
        before = [tokenizer.bos_token_id, *tokens[:done]][-(length - taken + 1) :]
        total += sum(log_probabilities(model, before, tokens[done : done + taken]))
        done += taken
    return total


@pytest.mark.parametrize("length", [None, 40, 7])
def test_words_and_bytes_are_those_of_the_documents(loaded, length):
    subject = loaded()
    nats = -sum(harness(subject.model, subject.tokenizer, each, length or 128) for each in DOCUMENTS)
    words = sum(len(re.split(r"\s+", each)) for each in DOCUMENTS)
    size = sum(len(each.encode()) for each in DOCUMENTS)
    found = by_name(perplexity(subject, TEXT, "lm-eval", length))
    assert found["word_perplexity"].value == pytest.approx(exp(nats / words), rel=1e-5)
    assert found["byte_perplexity"].value == pytest.approx(exp(nats / size), rel=1e-6)
    assert found["bits_per_byte"].value == pytest.approx(nats / size / log(2), rel=1e-6)
    protocol = found["word_perplexity"].protocol
    assert (protocol["documents"], protocol["prefix"], protocol["bos"]) == (4, "BOS", True)
    assert all(each.interval[0] < each.value < each.interval[1] for each in found.values())


@given(st.integers(1, 300), st.integers(1, 50))
@settings(max_examples=80, deadline=None)
def test_rolling_windows_score_every_token_once_after_at_least_one(tokens, length):
    spans = rolling_spans(tokens, length)
    assert [place for span in spans for place in range(span.first, span.end)] == list(range(1, tokens + 1))
    for span in spans:
        assert 0 <= span.start < span.first and span.end - 1 - span.start <= length
        assert span.start == 0 or span.end - 1 - span.start == length  # as much context as fits


def test_many_documents_are_the_samples_of_the_interval(loaded):
    documents = tuple(f"{each} {number}" for number, each in enumerate(DOCUMENTS * 3))
    text = Text("twelve", "\n\n".join(documents), None, documents)
    for measured in perplexity(loaded(), text, "lm-eval"):
        assert measured.protocol["interval_over"].startswith("12 documents")


def test_a_document_without_tokens_is_left_out(loaded, tiny_tokenizer):
    class Plain:
        """A tokenizer that adds no BOS, so that an empty document has no token."""

        is_fast, bos_token_id, eos_token_id = True, None, 0

        def __call__(self, text, **options):
            return tiny_tokenizer(text, **options | {"add_special_tokens": False})

    with_empty = Text("some", "", None, ("", *DOCUMENTS, ""))
    values = [score(loaded()._replace(tokenizer=Plain()), text, "lm-eval") for text in (TEXT, with_empty)]
    assert values[1].protocol["documents"] == 4 and values[1].protocol["prefix"] == "EOS"
    assert summarise(values[0])[0].value == summarise(values[1])[0].value


def test_wikitext_is_scored_in_plain_writing_and_counted_as_it_was(loaded):
    page = ' = Robert = \n \n He had a guest @-@ starring role in " Teddy \'s Story " ( 2002 ) , 1 @,@ 000 times . \n'
    plain = ' = Robert =\n\nHe had a guest-starring role in "Teddy\'s Story" (2002), 1,000 times.\n'
    assert detokenised(page) == plain
    subject = loaded()
    nats = -harness(subject.model, subject.tokenizer, detokenised(page), 128)
    found = by_name(perplexity(subject, Text("wiki", page), "lm-eval-wikitext"))
    assert found["word_perplexity"].value == pytest.approx(exp(nats / len(re.split(r"\s+", page))), rel=1e-5)
    assert found["byte_perplexity"].value == pytest.approx(exp(nats / len(page.encode())), rel=1e-6)


# evaluate


@pytest.mark.parametrize("length", [None, 20])
def test_the_mean_of_the_texts_perplexities(loaded, length):
    subject = loaded()
    values = []
    for document in DOCUMENTS:
        tokens = subject.tokenizer(document, add_special_tokens=False)["input_ids"][: (length or 128) - 1]
        logs = log_probabilities(subject.model, [subject.tokenizer.bos_token_id], tokens)
        values.append(exp(-sum(logs) / len(logs)))
    found = by_name(perplexity(subject, TEXT, "evaluate", length))["mean_perplexity"]
    assert found.value == pytest.approx(np.mean(values), rel=1e-5)
    assert found.n == found.protocol["windows"] == 4
    half = 3.18245 * np.std(values, ddof=1) / 2 / found.value  # Student's t of 3 degrees of freedom, in the logarithm
    assert found.interval == pytest.approx((found.value * exp(-half), found.value * exp(half)), rel=1e-4)


def test_one_text_has_an_interval_too(loaded):
    found = perplexity(loaded(), DOCUMENTS[1], "evaluate")[0]
    assert found.interval[0] < found.value < found.interval[1]


def test_without_a_bos_evaluate_refuses():
    with pytest.raises(RequestError, match="no BOS"):
        protocols.find("evaluate").cut(SimpleNamespace(bos_token_id=None), TEXT, Request(128))


def test_without_bos_and_eos_lm_eval_refuses():
    with pytest.raises(RequestError, match="neither BOS nor EOS"):
        protocols.find("lm-eval").cut(SimpleNamespace(bos_token_id=None, eos_token_id=None), TEXT, Request(128))


# all of them


@pytest.mark.parametrize("name", ["gptq", "hf-stride", "lm-eval", "evaluate"])
def test_two_models_are_compared_in_pairs(loaded, name):
    first, second = (score(loaded(seed=seed), TEXT, name) for seed in (0, 1))
    values = [by_name(summarise(scored)) for scored in (first, second)]
    for measured in compare(first, second):
        figure, kind = measured.metric.rsplit("_", 1)
        if figure in values[0]:
            one, other = (found[figure].value for found in values)
            assert measured.value == pytest.approx(other / one if kind == "ratio" else other - one, rel=1e-9)
        assert measured.interval[0] <= measured.value <= measured.interval[1]
    for measured in compare(first, first):
        nothing = 1 if measured.unit == "times" else 0
        assert (measured.value, measured.interval, measured.stderr) == (nothing, None, None)


@pytest.mark.parametrize("name", ["gptq", "lm-eval", "evaluate"])
def test_only_overlapping_windows_have_a_stride(loaded, name):
    with pytest.raises(RequestError, match="has no stride"):
        perplexity(loaded(), TEXT, name, stride=8)


@pytest.mark.parametrize("name", ["gptq", "hf-stride", "lm-eval", "evaluate"])
@pytest.mark.parametrize("length", [0, 129])
def test_an_impossible_window_is_refused(loaded, name, length):
    with pytest.raises(RequestError, match="to 128"):
        perplexity(loaded(), TEXT, name, length)


@pytest.mark.parametrize("name", ["hf-stride", "lm-eval", "evaluate"])
def test_fewer_windows_on_request(loaded, name):
    some, all_of_them = (score(loaded(), TEXT, name, 64, most=most) for most in (2, None))
    assert 2 <= some.protocol["windows"] < all_of_them.protocol["windows"]
