"""SQuAD's exact match and F1."""

import pytest
from evals.answers import exact_match, normalise, token_f1
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.lists(st.sampled_from(["oil", "crisis", "1973", "March", "Denver", "x"]), min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("raw", "normal"),
    [("The  Denver Broncos!", "denver broncos"), ("an U.S. dollar", "us dollar"), ("theory of a", "theory of"), ("$12", "12")],
)
def test_normalisation(raw, normal):
    assert normalise(raw) == normal


@pytest.mark.parametrize(
    ("answer", "references", "em", "f1"),
    [
        ("the October 1973", ["October 1973", "1973"], 1, 1),
        ("October", ["October 1973"], 0, 2 / 3),
        ("in October of 1973", ["October 1973", "1973"], 0, 2 * 2 / 6),
        ("nothing alike", ["October"], 0, 0),
        ("to to be", ["to be or"], 0, 2 * 2 / 6),
        ("", ["October"], 0, 0),
    ],
)
def test_scores(answer, references, em, f1):
    assert exact_match(answer, references) == em
    assert token_f1(answer, references) == pytest.approx(f1)


@given(WORDS, WORDS)
def test_f1_is_symmetric_and_bounded_and_one_where_they_match(one, two):
    assert token_f1(one, [two]) == token_f1(two, [one])
    assert 0 <= token_f1(one, [two]) <= 1
    assert token_f1(one, [two, one]) == 1 and exact_match(one, [two, one]) == 1
