"""Learning-rate schedules: their values, and what all of them have in common."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.schedules import SCHEDULES, rate_factor

NAMES = st.sampled_from(sorted(SCHEDULES))


@given(NAMES, st.floats(0, 0.5), st.floats(0, 1))
def test_the_factor_stays_between_zero_and_one(name, warm_up, fraction):
    assert 0 <= rate_factor(name, warm_up, fraction) <= 1


@given(NAMES, st.floats(0.01, 0.5))
def test_it_rises_from_zero_to_the_peak_and_ends_at_zero(name, warm_up):
    assert rate_factor(name, warm_up, 0) == 0
    assert rate_factor(name, warm_up, warm_up / 2) == pytest.approx(0.5)
    assert rate_factor(name, warm_up, warm_up) == pytest.approx(1)
    assert rate_factor(name, warm_up, 1) == pytest.approx(0, abs=1e-12)


@given(NAMES, st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_it_never_rises_after_the_warm_up(name, warm_up, one, other):
    earlier, later = sorted(warm_up + (1 - warm_up) * share for share in (one, other))
    assert rate_factor(name, warm_up, earlier) >= rate_factor(name, warm_up, later) - 1e-12


@given(NAMES, st.floats(0, 0.5))
def test_a_run_that_is_over_gets_no_rate(name, warm_up):
    assert rate_factor(name, warm_up, 1.7) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "fraction", "factor"),
    [
        ("linear", 0.25, 0.75),
        ("cosine", 1 / 3, 0.75),
        ("cosine", 0.5, 0.5),
        ("wsd", 0.0, 1.0),
        ("wsd", 0.79, 1.0),
        ("wsd", 0.9, 1 - math.sqrt(0.5)),
    ],
)
def test_known_values_without_warm_up(name, fraction, factor):
    assert rate_factor(name, 0.0, fraction) == pytest.approx(factor)
