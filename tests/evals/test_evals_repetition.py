"""Repetition and variety of texts."""

from collections import Counter
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.judging.counted import mean_of_counted
from evals.judging.repetition import STRETCH, distinct, repetition, repetition_rate, sequence_repetition

WORDS = st.lists(st.sampled_from("abcd"), max_size=14)


def grams(words, n):
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


@given(WORDS, st.integers(1, 4))
def test_distinct_and_seq_rep_by_their_definitions(words, n):
    found = grams(words, n)
    if found:
        assert distinct(words, n) == [pytest.approx(len(set(found)) / len(found)), 1]
        assert sequence_repetition(words, n) == [pytest.approx(1 - len(set(found)) / len(found)), 1]
    else:
        assert distinct(words, n) == sequence_repetition(words, n) == [0, 0]


def test_by_hand():
    words = "the cat sat on the cat sat on the mat".split()
    assert distinct(words, 1) == [5 / 10, 1]
    assert distinct(words, 2) == [5 / 9, 1]
    assert sequence_repetition(words) == [pytest.approx(1 - 5 / 7), 1]
    # that occur again: the cat sat on; the-cat cat-sat sat-on on-the; 3 of 5 trigrams; 2 of 5
    assert repetition(words) == [4, 4, 3, 2, 5, 5, 5, 5]
    assert float(repetition_rate(np.array(repetition(words)))) == pytest.approx((4 * 4 * 3 * 2 / 5**4) ** 0.25)


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_the_repetition_rate_of_a_set_is_of_its_sums(texts):
    shares = []
    for n in (1, 2, 3, 4):
        counted = [Counter(grams(words, n)) for words in texts]
        different = sum(len(count) for count in counted)
        once = sum(value == 1 for count in counted for value in count.values())
        shares.append((different - once) / different if different else 0)
    sums = np.sum([repetition(words) for words in texts], axis=0)
    assert float(repetition_rate(sums)) == pytest.approx(prod(shares) ** 0.25)


def test_the_repetition_rate_does_not_grow_with_length_alone():
    stretch = [str(at) for at in range(STRETCH)]
    assert float(repetition_rate(np.array(repetition(stretch * 3)))) == 0
    assert float(repetition_rate(np.array(repetition(stretch[: STRETCH // 2] * 2)))) > 0.9


def test_means_leave_out_texts_without_such_a_run():
    rows = np.array([distinct(text.split(), 2) for text in ("a b a b", "a", "")])
    assert float(mean_of_counted(rows.sum(0))) == pytest.approx(2 / 3)
    np.testing.assert_array_equal(mean_of_counted(np.zeros((4, 2))), np.zeros(4))
