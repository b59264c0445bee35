"""Choices scored by log-likelihood: batched against one by one, and against a plain sum."""

import inspect
from dataclasses import replace
from math import isclose

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.asking import branches
from evals.asking.encoding import encode_pair
from evals.asking.likelihood import (
    ChoiceScore,
    log_likelihoods,
    probabilities,
    score_choices,
    score_pairs,
    score_prompts,
)
from models.errors import EspalierError, RequestError
from models.forward.causality import is_causal
from models.text.prompts import leading_tokens

PROMPT = "Review: a film about a wall and a tree\nSentiment:"
CHOICES = [" good", " a rather long and winding choice, with a comma", " bad", " x", " 在花园里"]


def plain_sum(model, context, tail):
    with torch.no_grad():
        logits = model(torch.tensor([context + tail])).logits[0].log_softmax(-1)
    return sum(float(logits[len(context) + at - 1, token]) for at, token in enumerate(tail))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "opt", "bloom", "gpt_neox", "qwen3"])
def test_together_equals_one_by_one_and_a_plain_sum(tiny_model, tiny_tokenizer, family):
    model = tiny_model(family)
    together = score_choices(model, tiny_tokenizer, PROMPT, CHOICES)
    for choice, score in zip(CHOICES, together, strict=True):
        (alone,) = score_choices(model, tiny_tokenizer, PROMPT, [choice])
        context, tail = encode_pair(tiny_tokenizer, PROMPT, choice)
        assert isclose(score.log_likelihood, alone.log_likelihood, abs_tol=1e-4)
        assert isclose(score.log_likelihood, plain_sum(model, context, tail), abs_tol=1e-4)
        assert (score.choice, score.tokens, score.characters) == (choice, len(tail), len(choice) - 1)


lengths = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 12)), min_size=1, max_size=8)


@given(lengths, st.integers(0, 2**31), st.sampled_from([1, 40, 4096]))
@settings(max_examples=30, deadline=None)
def test_any_lengths_in_any_batches(tiny_model, lengths, seed, batch_tokens):
    model = tiny_model()
    random = torch.Generator().manual_seed(seed)
    pairs = [
        tuple(torch.randint(0, 320, (length,), generator=random).tolist() for length in pair_lengths)
        for pair_lengths in lengths
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branches, "BATCH_TOKENS", batch_tokens)
        values = log_likelihoods(model, pairs)
    for value, (context, tail) in zip(values, pairs, strict=True):
        assert isclose(value, plain_sum(model, context, tail), abs_tol=1e-4)


def test_choices_of_one_token_share_one_row(tiny_model, monkeypatch):
    model, rows = tiny_model(), []
    assert is_causal(model)  # which is tried once for a model, by rows of its own
    forward = model.forward

    def counted(input_ids, **options):
        rows.append(len(input_ids))
        return forward(input_ids=input_ids, **options)

    counted.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(model, "forward", counted)
    log_likelihoods(model, [([0, 5, 6], [token]) for token in range(10, 30)])
    assert rows == [1]


def test_the_choices_of_one_token_sum_to_one_over_the_vocabulary(tiny_model):
    values = log_likelihoods(tiny_model(), [([0, 5, 6], [token]) for token in range(320)])
    assert torch.tensor(values).exp().sum().item() == pytest.approx(1, abs=1e-5)


@given(
    st.text(alphabet="ab ,é花\n", max_size=12), st.integers(0, 3), st.text(alphabet="ab ,é花", min_size=1, max_size=8)
)
@settings(max_examples=80, deadline=None)
def test_pairs_keep_the_text_whole_and_no_space_ends_the_prompt(tiny_tokenizer, prompt, spaces, choice):
    context, tail = encode_pair(tiny_tokenizer, prompt + " " * spaces, choice)
    assert context[0] == tiny_tokenizer.bos_token_id and tail
    body = tiny_tokenizer.decode(context[1:])
    assert body == prompt.rstrip(" ")
    whole = tiny_tokenizer(prompt + " " * spaces + choice)["input_ids"]
    if whole[: len(context)] == context:
        assert context + tail == whole


def test_a_space_may_end_the_prompt_or_begin_the_choice(tiny_model, tiny_tokenizer):
    model = tiny_model()
    (moved,) = score_choices(model, tiny_tokenizer, PROMPT + " ", ["good"])
    (written,) = score_choices(model, tiny_tokenizer, PROMPT, [" good"])
    assert moved.log_likelihood == written.log_likelihood
    assert moved.characters == written.characters == 4


def test_a_long_prompt_is_cut_from_the_left_alike_for_all_and_said(tiny_model, tiny_tokenizer):
    model = tiny_model()
    prompt = "".join(f" word {number}" for number in range(60)) + "\nAnswer:"
    scores = score_choices(model, tiny_tokenizer, prompt, [" a", " quite a long answer"])
    context, tail = encode_pair(tiny_tokenizer, prompt, " a")
    dropped = scores[0].dropped
    assert dropped > 0 and scores[1].dropped == dropped
    kept = [context[0], *context[1 + dropped :]]
    assert len(kept) + max(score.tokens for score in scores) - 1 == 128
    assert scores[0].log_likelihood == pytest.approx(plain_sum(model, kept, tail), abs=1e-4)
    assert score_choices(model, tiny_tokenizer, PROMPT, [" a"])[0].dropped == 0


@pytest.mark.parametrize(
    ("choices", "line"),
    [([], "at least one"), ([" ", "a"], "empty"), ([" long" * 200], "longer than the model's context")],
)
def test_impossible_choices_are_refused(tiny_model, tiny_tokenizer, choices, line):
    with pytest.raises(RequestError, match=line):
        score_choices(tiny_model(), tiny_tokenizer, PROMPT, choices)


def test_an_empty_prompt_begins_with_the_special_token(tiny_model, tiny_tokenizer):
    (score,) = score_choices(tiny_model(), tiny_tokenizer, "", ["good"])
    tail = tiny_tokenizer("good", add_special_tokens=False)["input_ids"]
    assert score.log_likelihood == pytest.approx(plain_sum(tiny_model(), [0], tail), abs=1e-4)
    assert leading_tokens(tiny_tokenizer) == [0]


def test_damaged_weights_are_told(tiny_model, tiny_tokenizer):
    model = tiny_model()
    model.lm_head.weight.data[3, 3] = float("nan")
    with pytest.raises(EspalierError, match="not finite"):
        score_choices(model, tiny_tokenizer, PROMPT, CHOICES)


@given(st.lists(st.tuples(st.floats(-2000, 0), st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one_and_keep_the_order(values):
    scores = [ChoiceScore(" " + "é" * letters, value, tokens) for value, tokens, letters in values]
    divisors = {"none": [1] * len(values), "tokens": [v[1] for v in values], "characters": [v[2] for v in values]}
    divisors["bytes"] = [2 * v[2] for v in values]
    for normalise, lengths in divisors.items():
        found = probabilities(scores, normalise)
        normalised = [value[0] / length for value, length in zip(values, lengths, strict=True)]
        expected = torch.tensor(normalised, dtype=torch.float64).softmax(0)
        assert found == pytest.approx(expected.tolist(), abs=1e-9)


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(RequestError, match="none, tokens, characters, bytes"):
        probabilities([ChoiceScore("a", -1.0, 1)], "words")


def test_greedy_says_what_greedy_decoding_writes(tiny_model, tiny_tokenizer):
    model, context = tiny_model(), [0, *tiny_tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]
    written = model.generate(torch.tensor([context]), max_new_tokens=5, do_sample=False)[0, len(context) :].tolist()
    others = [[*written[:at], (written[at] + 1) % 320, *written[at + 1 :]] for at in range(5)]
    scores = score_pairs(model, [(context, tail) for tail in (written, written[:2], *others)])
    assert [score.greedy for score in scores] == [True, True, *[False] * 5]


def test_many_prompts_together_equal_one_by_one(tiny_model, tiny_tokenizer):
    model = tiny_model()
    asked = [(PROMPT, CHOICES), ("", [" one", " two"]), ("long " * 200, [" a", " quite long"]), ("Short:", [" yes"])]
    for (prompt, choices), together in zip(asked, score_prompts(model, tiny_tokenizer, asked), strict=True):
        for found, alone in zip(together, score_choices(model, tiny_tokenizer, prompt, choices), strict=True):
            assert isclose(found.log_likelihood, alone.log_likelihood, abs_tol=1e-4)
            assert replace(found, log_likelihood=0) == replace(alone, log_likelihood=0)


def test_a_text_longer_than_the_context_is_refused_and_none_is_no_work(tiny_model):
    with pytest.raises(RequestError, match="128 tokens"):
        score_pairs(tiny_model(), [([0, 5], [6]), ([0], [7] * 129)])
    assert score_pairs(tiny_model(), []) == []
