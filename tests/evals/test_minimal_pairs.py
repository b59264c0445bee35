"""Minimal pairs: whole sentences against a plain sum, the mean over sets, its interval."""

import gzip
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evals.minimal_pairs import MinimalPair, by_set, evenly, good_is_likelier, mean_over_sets, minimal_pairs, read_blimp
from models import Loaded
from models.errors import RequestError

WORDS = ["The tree", "A gardener", "Café crème", "no one", "cuts", "is", "grows", "the branches", "away", "花园"]


def some_pairs(count: int, name: str, term: str) -> list[MinimalPair]:
    draw = np.random.default_rng(len(name))
    sentence = lambda: " ".join(draw.choice(WORDS, size=draw.integers(1, 8))) + "."  # noqa: E731
    return [MinimalPair(sentence(), sentence(), name, term) for _ in range(count)]


@pytest.fixture(scope="module")
def loaded(tiny_model, tiny_tokenizer):
    return Loaded(tiny_model(), tiny_tokenizer, None)


def whole_sentence(loaded, sentence: str) -> float:
    ids = torch.tensor([loaded.tokenizer(sentence)["input_ids"]])
    with torch.no_grad():
        return -float(loaded.model(ids, labels=ids).loss) * (ids.shape[1] - 1)


def test_the_good_sentence_is_the_likelier_one_by_a_plain_sum(loaded):
    pairs = some_pairs(40, "a", "term")
    assert loaded.tokenizer(pairs[0].good)["input_ids"][0] == loaded.tokenizer.bos_token_id
    expected = [whole_sentence(loaded, pair.good) > whole_sentence(loaded, pair.bad) for pair in pairs]
    assert good_is_likelier(loaded, pairs).tolist() == expected and 0 < sum(expected) < 40


def test_sets_count_alike_whatever_their_size_and_terms_are_told(loaded):
    sets = [some_pairs(30, "a", "one"), some_pairs(10, "bb", "one"), some_pairs(20, "ccc", "two")]
    shares = [good_is_likelier(loaded, members).mean() for members in sets]
    found = minimal_pairs(loaded, [pair for members in sets for pair in members])
    assert [measured.metric for measured in found] == ["accuracy", "accuracy[one]", "accuracy[two]"]
    assert [measured.n for measured in found] == [60, 40, 20]
    expected = [np.mean(shares), np.mean(shares[:2]), shares[2]]
    assert [measured.value for measured in found] == pytest.approx(expected)


def test_swapped_pairs_and_ties_make_the_rest(loaded):
    pairs = [*some_pairs(30, "a", "term"), MinimalPair("the same", "the same", "a", "term")]
    swapped = [MinimalPair(pair.bad, pair.good, pair.set, pair.term) for pair in pairs]
    right, wrong = good_is_likelier(loaded, pairs), good_is_likelier(loaded, swapped)
    ties = np.array([pair.good == pair.bad for pair in pairs])
    assert ties.sum() >= 1 and (right ^ wrong == ~ties).all() and not right[ties].any()


def test_the_interval_is_that_of_a_stratified_sample():
    correct = [np.array([1, 1, 1, 0]), np.array([0, 1] * 50)]
    estimate = mean_over_sets(correct)
    errors = [answers.std(ddof=1) / len(answers) ** 0.5 for answers in correct]
    assert estimate.value == pytest.approx((0.75 + 0.5) / 2) and estimate.n == 104
    assert estimate.stderr == pytest.approx(np.hypot(*errors) / 2)
    assert mean_over_sets([np.array([True])]).interval is None


@given(st.lists(st.integers(), max_size=60, unique=True), st.integers(1, 70) | st.none())
def test_a_sample_is_evenly_spaced_and_no_larger_than_asked(items, most):
    chosen = evenly(items, most)
    assert len(chosen) == min(len(items), most or len(items)) and chosen == [item for item in items if item in chosen]
    places = [items.index(item) for item in chosen]
    gaps = np.diff(places)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_sample_of_each_set(loaded):
    pairs = [*some_pairs(9, "a", "one"), *some_pairs(3, "bb", "two")]
    assert {name: len(members) for name, members in by_set(pairs, 4).items()} == {"a": 4, "bb": 3}
    assert minimal_pairs(loaded, pairs, most=4)[0].n == 7


def test_the_file_is_read_and_an_empty_one_refused(tmp_path, loaded):
    row = {"sentence_good": "A tree is.", "sentence_bad": "A tree are.", "UID": "s", "linguistics_term": "t"}
    path = tmp_path / "blimp.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    assert read_blimp(path) == [MinimalPair("A tree is.", "A tree are.", "s", "t")]
    with pytest.raises(RequestError, match="no minimal pair"):
        minimal_pairs(loaded, [])
