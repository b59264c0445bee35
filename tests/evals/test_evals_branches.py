"""Continuations as branches of one row: every family against scoring one by one."""

from math import isclose

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.asking import likelihood
from evals.asking.branches import can_branch, rows_of
from evals.asking.likelihood import packs, score_pairs
from tests.conftest import FAMILIES

CONTEXT = [0, 5, 17, 9, 200, 31, 4]
TAILS = [[7], [8, 9], [8, 9, 10, 11, 12], [40, 41, 42], [8, 9, 10], [7, 7, 7, 7]]
PAIRS = [(CONTEXT, tail) for tail in TAILS]
ALWAYS_APART = {"bloom", "mpt"}  # ALiBi


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_alike_with_branches_and_one_by_one(tiny_model, family):
    model = tiny_model(family)
    if family in ALWAYS_APART:
        assert not can_branch(model, 20) and not packs(model, PAIRS)
        return
    assert packs(model, PAIRS), "the family is not packed, though it could be"
    together, apart = (score_pairs(model, PAIRS, packed=packed) for packed in (True, False))
    for one, other in zip(together, apart, strict=True):
        assert isclose(one.log_likelihood, other.log_likelihood, abs_tol=2e-4)
        assert one.greedy == other.greedy


contexts = st.lists(st.lists(st.integers(1, 319), min_size=1, max_size=12), min_size=1, max_size=4)
tails = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=6), min_size=1, max_size=6)


@given(contexts, tails)
@settings(max_examples=40, deadline=None)
def test_any_pairs_in_any_order(tiny_model, contexts, tails):
    pairs = [(context, tail) for tail in tails for context in contexts]
    together, apart = (score_pairs(tiny_model(), pairs, packed=packed) for packed in (True, False))
    for one, other in zip(together, apart, strict=True):
        assert isclose(one.log_likelihood, other.log_likelihood, abs_tol=2e-4)


def test_a_context_is_computed_once_and_a_shared_beginning_too():
    (row,) = rows_of(PAIRS, True, most=100)
    stems = [8, 9, 10, 11], [7, 7, 7], [40, 41]
    assert row.ids == (*CONTEXT, *(token for stem in stems for token in stem))
    assert row.positions == (*range(7), *range(7, 11), *range(7, 10), *range(7, 9))
    assert sorted(row.pairs) == list(range(len(PAIRS)))


def test_a_row_stays_within_the_context_where_it_can():
    pairs = [(CONTEXT, [at, at, at, at]) for at in range(20)]
    rows = rows_of(pairs, True, most=20)
    assert len(rows) > 1 and all(len(row.ids) <= 20 for row in rows)
    assert sorted(at for row in rows for at in row.pairs) == list(range(20))


def test_a_sliding_window_shorter_than_the_row_is_never_packed(tiny_model):
    short = tiny_model("mistral", sliding_window=8)
    assert not can_branch(short, 20) and can_branch(short, 8)
    assert not packs(short, [(CONTEXT, [8, 9, 10]), (CONTEXT, [7, 7, 7])])


def test_a_model_that_reads_branches_otherwise_is_scored_one_by_one(tiny_model, monkeypatch):
    model, forward = tiny_model(), likelihood.logits_of

    def wrong(model, rows):
        logits, first = forward(model, rows)
        return (logits * 1.5 if any(row.is_tree for row in rows) else logits), first

    monkeypatch.setattr(likelihood, "logits_of", wrong)
    apart = score_pairs(model, PAIRS, packed=False)
    assert not packs(model, PAIRS)
    assert score_pairs(model, PAIRS) == apart


def test_half_precision_is_packed_within_its_rounding(tiny_model):
    model = tiny_model().to(torch.bfloat16)
    assert packs(model, PAIRS)
    together, apart = (score_pairs(model, PAIRS, packed=packed) for packed in (True, False))
    assert all(isclose(a.log_likelihood, b.log_likelihood, abs_tol=0.1) for a, b in zip(together, apart, strict=True))
