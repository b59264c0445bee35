"""Families whose forward refuses branches, masks or options are asked one by one, to the same answers."""

import inspect
from math import isclose

import numpy as np
import pytest
import torch
import transformers

from evals.asking.likelihood import log_likelihoods, packs, score_choices, score_pairs
from evals.asking.request_client import RequestClient
from evals.text_losses.scoring import token_losses
from models.errors import EspalierError
from models.loading import Loaded

CONTEXT = [0, 5, 17, 9, 200, 31, 4]
PAIRS = [(CONTEXT, tail) for tail in ([7], [8, 9], [8, 9, 10, 11, 12], [40, 41, 42])] + [([0, 3], [7, 9])]
WINDOWS = torch.from_numpy(np.random.default_rng(0).integers(5, 320, size=(3, 20)))


def openai_gpt():
    return transformers.OpenAIGPTLMHeadModel(
        transformers.OpenAIGPTConfig(vocab_size=320, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    )


def xlm():
    return transformers.XLMWithLMHeadModel(
        transformers.XLMConfig(vocab_size=320, emb_dim=32, n_layers=2, n_heads=4, causal=True)
    )


def bart():
    return transformers.BartForCausalLM(
        transformers.BartConfig(
            vocab_size=320, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48,
            max_position_embeddings=64,
        )
    )  # fmt: skip


@pytest.fixture(params=[openai_gpt, xlm, bart], ids=lambda make: make.__name__)
def model(request):
    torch.manual_seed(0)
    return request.param().eval()


def by_hand(model, context, tail):
    with torch.inference_mode():
        logs = model(input_ids=torch.tensor([[*context, *tail]])).logits[0].log_softmax(-1)
    return sum(float(logs[len(context) - 1 + at, token]) for at, token in enumerate(tail))


def check(model):
    expected = [by_hand(model, *pair) for pair in PAIRS]
    for found in (log_likelihoods(model, PAIRS), [log_likelihoods(model, [pair])[0] for pair in PAIRS]):
        assert all(isclose(one, other, abs_tol=2e-4) for one, other in zip(found, expected, strict=True))
    losses = token_losses(model, WINDOWS, first=3)
    for row, ids in enumerate(WINDOWS.tolist()):
        assert losses[row].sum() == pytest.approx(-by_hand(model, ids[:3], ids[3:]), rel=1e-5)


def test_a_family_that_cannot_read_branches_is_asked_text_by_text(model):
    assert not packs(model, PAIRS)
    check(model)


def test_the_page_and_the_harness_ask_it_so_too(model, tiny_tokenizer):
    choices = [" good", " bad", " long and winding"]
    direct = score_choices(model, tiny_tokenizer, "The tree is", choices)
    loaded = Loaded(model, tiny_tokenizer, None)
    client = RequestClient("model", tiny_tokenizer, model.config, "", lambda: loaded)
    (through,) = client.likelihoods([("The tree is", choices)])
    for one, other in zip(direct, through, strict=True):
        assert isclose(one.log_likelihood, other.log_likelihood, abs_tol=2e-4)


def refusing(monkeypatch, model, refused, error):
    """The model with a forward that refuses some of the options, and the calls that it was given."""
    forward, calls = model.forward, []

    def picky(input_ids, **options):
        calls.append((tuple(input_ids.shape), sorted(options)))
        if any(refused(name, value) for name, value in options.items()):
            raise error
        return forward(input_ids=input_ids, **options)

    picky.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", picky)
    return calls


REFUSALS = {
    "4-D masks": (lambda name, value: name == "attention_mask" and value.ndim == 4, ValueError("mask")),
    "places": (lambda name, value: name == "position_ids", TypeError("unexpected keyword")),
    "logits_to_keep": (lambda name, value: name == "logits_to_keep", TypeError("unexpected keyword")),
    "masks": (lambda name, value: name == "attention_mask", NotImplementedError("attention")),
    "all": (lambda name, value: name != "use_cache", AssertionError()),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_whatever_a_forward_refuses_the_answers_stay(tiny_model, monkeypatch, refusal):
    model = tiny_model()
    refusing(monkeypatch, model, *REFUSALS[refusal])
    if refusal in ("4-D masks", "places", "all"):
        assert not packs(model, PAIRS)
    check(model)


def test_what_was_refused_once_is_not_tried_again(tiny_model, monkeypatch):
    model = tiny_model()
    calls = refusing(monkeypatch, model, lambda name, value: name == "attention_mask", ValueError("no"))
    score_pairs(model, PAIRS, packed=False)
    calls.clear()
    score_pairs(model, PAIRS, packed=False)
    assert calls and all(shape[0] == 1 and options == [] for shape, options in calls)


def test_an_error_that_is_not_about_options_is_told(tiny_model, monkeypatch):
    model = tiny_model()
    log_likelihoods(model, PAIRS)  # its trial is over
    monkeypatch.setattr(model, "forward", lambda **given: (_ for _ in ()).throw(ValueError("broken")))
    with pytest.raises(ValueError, match="broken"):
        score_pairs(model, PAIRS, packed=False)
    monkeypatch.setattr(model, "forward", lambda **given: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(EspalierError, match="Out of memory"):
        score_pairs(model, PAIRS, packed=False)
