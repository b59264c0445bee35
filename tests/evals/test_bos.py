"""Where BOS stands in windows: once before the text as published, or before every window where a model needs it."""

import copy
from math import exp, log

import numpy as np
import pytest
import torch

from evals import evaluate_models, protocols
from evals.protocols import Request
from evals.text_losses.data import Text
from evals.text_losses.perplexity import ProtocolMismatch, compare, perplexity, score
from models.errors import RequestError
from models.loading import Loaded

TEXT = "The gardener ties the young branches to the wall. Café crème für 12 Gäste, 在花园里 🌳 it's asleep.\n\n" * 12
NEEDING = ["gemma", "gemma2", "gemma3_text"]


@pytest.fixture
def loaded(tiny_model, tiny_tokenizer):
    return lambda family="llama", **options: Loaded(tiny_model(family, **options), tiny_tokenizer, None)


def plain_ids(tokenizer):
    return tokenizer(TEXT, add_special_tokens=False)["input_ids"]


def losses_behind_bos(subject, chunk):
    bos = subject.tokenizer.bos_token_id
    with torch.inference_mode():
        logs = subject.model(input_ids=torch.tensor([[bos, *chunk]])).logits[0].double().log_softmax(-1)
    return [-float(logs[at, token]) for at, token in enumerate(chunk)]


@pytest.mark.parametrize("family", NEEDING)
def test_every_window_of_a_model_that_needs_it_begins_with_bos(loaded, family):
    subject = loaded(family)
    ids = plain_ids(subject.tokenizer)
    for given in (None, "auto", "window"):
        value = perplexity(subject, TEXT, length=50, bos=given)[0]
        chunks = [ids[start : start + 49] for start in range(0, len(ids) - 48, 49)]
        nats = [loss for chunk in chunks for loss in losses_behind_bos(subject, chunk)]
        assert value.value == pytest.approx(exp(sum(nats) / len(nats)), rel=1e-5)
        assert value.protocol["bos"] is True and value.protocol["bos_policy"] == "window"
        assert (value.protocol["length"], value.protocol["stride"]) == (50, 49)
        assert value.protocol["tokens_scored"] == 49 * len(chunks)


def test_bits_cover_the_bytes_of_all_scored_tokens(loaded):
    subject = loaded("gemma2")
    ids = plain_ids(subject.tokenizer)
    scored = score(subject, TEXT, length=50)
    count = len(ids) // 49 * 49
    covered = len(subject.tokenizer.decode(ids[:count]).encode())
    assert sum(row.sum() for row in scored.weights["bytes"]) == pytest.approx(covered, abs=3)  # a character cut in two
    bits = perplexity(subject, TEXT, length=50)[1]
    nats = sum(float(row.sum()) for row in scored.losses)
    assert bits.value == pytest.approx(nats / log(2) / sum(row.sum() for row in scored.weights["bytes"]), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_other_models_are_scored_as_published_unless_asked(loaded, family):
    subject = loaded(family)
    found = perplexity(subject, TEXT, length=50)[0]
    assert "bos_policy" not in found.protocol and found.protocol["stride"] == 50
    assert found.value == perplexity(subject, TEXT, length=50, bos="text")[0].value
    assert perplexity(subject, TEXT, length=50, bos="window")[0].protocol["bos_policy"] == "window"


@pytest.mark.parametrize(("length", "stride"), [(None, None), (50, 49), (64, 9)])
def test_with_a_stride_every_token_is_scored_once_behind_the_bos_of_its_window(loaded, length, stride):
    subject = loaded("gemma2")
    ids = plain_ids(subject.tokenizer)
    window, step = length or 128, stride or 64
    nats, scored = [], 0
    for start in range(0, len(ids), step):
        end = min(start + window - 1, len(ids))
        nats += losses_behind_bos(subject, ids[start:end])[scored - start :]
        scored = end
        if end == len(ids):
            break
    found = perplexity(subject, TEXT, "hf-stride", length, stride=stride)[0]
    assert len(nats) == len(ids) == found.protocol["tokens_scored"]
    assert found.value == pytest.approx(exp(np.mean(nats)), rel=1e-5)
    assert found.protocol["bos_policy"] == "window"


def test_a_stride_as_long_as_the_window_leaves_no_room_for_bos(loaded):
    with pytest.raises(RequestError, match="choose 1 to 49|choose 49"):
        perplexity(loaded("gemma2"), TEXT, "hf-stride", 50, stride=50)


def test_two_policies_are_never_compared(loaded):
    subject = loaded("gemma2")
    first, second = (score(subject, TEXT, length=50, bos=bos) for bos in ("text", "window"))
    with pytest.raises(ProtocolMismatch, match="bos_policy: None against window"):
        compare(first, second)


def test_a_short_text_is_one_window_behind_its_bos(loaded):
    subject = loaded("gemma2")
    text = "A short text about a wall and a tree."
    ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = perplexity(subject, text)[0]
    assert (found.protocol["length"], found.protocol["shortened_from"]) == (len(ids) + 1, 128)
    assert found.protocol["tokens_scored"] == len(ids)


@pytest.mark.parametrize("name", ["lm-eval", "lm-eval-wikitext", "evaluate"])
def test_a_protocol_that_says_where_bos_stands_takes_no_other_word(loaded, name):
    subject = loaded("gemma2")
    assert "bos_policy" not in perplexity(subject, Text("t", TEXT, documents=(TEXT,)), name, 50)[0].protocol
    with pytest.raises(RequestError, match=f"The protocol {name} says itself where BOS stands"):
        perplexity(subject, TEXT, name, 50, bos="window")


def test_a_word_that_means_nothing_and_a_bos_that_is_not_there_are_refused(loaded):
    with pytest.raises(RequestError, match="Unknown place of BOS 'often': use auto, text, window"):
        perplexity(loaded(), TEXT, bos="often")
    subject = loaded("gemma2")
    tokenizer = copy.deepcopy(subject.tokenizer)
    tokenizer.bos_token = None
    without = subject._replace(tokenizer=tokenizer)
    with pytest.raises(RequestError, match="has no BOS to begin every window with"):
        perplexity(without, TEXT, bos="window")
    assert "bos_policy" not in perplexity(without, TEXT, length=50)[0].protocol


def test_windows_keep_to_the_length_and_to_so_many(tiny_tokenizer):
    text = Text("t", TEXT)
    for name in ("gptq", "hf-stride"):
        windows = protocols.find(name).cut(tiny_tokenizer, text, Request(128, 40, most=3, bos="window"))
        assert len(windows.ids) == 3
        assert all(len(ids) == 40 and ids[0] == tiny_tokenizer.bos_token_id for ids in windows.ids)


def test_a_run_takes_the_model_s_need_or_the_option_for_perplexity_and_closeness(tiny_folder):
    pair = [str(tiny_folder("gemma2", seed=seed)) for seed in (0, 1)]

    def policies(**options):
        document = evaluate_models(
            pair, metrics=["perplexity", "closeness"], quick=True, cache=None, dtype="float32",
            options={"length": 40} | options,
        )  # fmt: skip
        return {
            entry["protocol"].get("bos_policy")
            for entry in document["results"]
            if entry["protocol"].get("name") == "gptq"
        }

    assert policies() == policies(bos="window") == {"window"}
    assert policies(bos="text") == {None}
    with pytest.raises(RequestError, match="says itself where BOS stands"):
        policies(bos="text", protocol="lm-eval")
