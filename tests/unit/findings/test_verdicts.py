"""When a finding holds, and when nothing can be said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.findings.verdicts import Claim, Verdict, difference, t_interval

NUMBERS = st.floats(-1e3, 1e3)


def claim(*values: float, **bounds: float) -> Verdict:
    return Claim("so it is", dict(enumerate(values)), **bounds).verdict


def test_the_interval_is_students_at_90_percent():
    found = t_interval([1.0, 2.0, 3.0])

    assert found is not None
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half_width == pytest.approx(2.920 * 1.0 / math.sqrt(3))


def test_one_seed_has_a_mean_and_no_ends_and_none_has_nothing():
    found = t_interval([0.5])

    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, -math.inf, math.inf)
    assert t_interval([]) is None


@given(st.lists(NUMBERS, min_size=2, max_size=40))
def test_the_mean_lies_in_the_interval(values):
    found = t_interval(values)

    assert found is not None
    assert found.low <= found.mean <= found.high


@given(st.lists(NUMBERS, min_size=2, max_size=40))
def test_the_same_seeds_twice_are_told_more_narrowly(values):
    once, twice = t_interval(values), t_interval(values * 2)

    assert once is not None
    assert twice is not None
    assert twice.half_width <= once.half_width + 1e-9


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, 0.12, 0.09), Verdict.HOLDS),
        ((-0.1, -0.12, -0.09), Verdict.DOES_NOT_HOLD),
        ((0.1, -0.12, 0.09), Verdict.CANNOT_BE_SAID),
        ((0.1, 0.1), Verdict.CANNOT_BE_SAID),
        ((), Verdict.CANNOT_BE_SAID),
        ((0.0, 0.0, 0.0), Verdict.DOES_NOT_HOLD),
        ((0.1, 0.1, 0.1), Verdict.HOLDS),
    ],
    ids=["above", "below", "both sides", "two seeds", "no seed", "no difference at all", "all alike"],
)
def test_that_a_number_is_positive(values, verdict):
    assert claim(*values) is verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.01, -0.01, 0.0), Verdict.HOLDS),
        ((0.2, 0.21, 0.19), Verdict.DOES_NOT_HOLD),
        ((-0.2, -0.21, -0.19), Verdict.DOES_NOT_HOLD),
        ((0.04, 0.07, 0.05), Verdict.CANNOT_BE_SAID),
    ],
    ids=["within", "above", "below", "over the edge"],
)
def test_that_a_number_is_as_good_as_none(values, verdict):
    assert claim(*values, above=-0.05, below=0.05) is verdict


@given(st.lists(NUMBERS, min_size=3, max_size=12))
def test_a_claim_and_its_opposite_never_both_hold(values):
    verdicts = {claim(*values), claim(*(-value for value in values))}

    assert verdicts != {Verdict.HOLDS}


def test_only_seeds_that_both_have_are_compared():
    assert difference({0: 1.0, 1: 2.0, 2: 3.0}, {1: 0.5, 2: 1.0, 3: 9.0}) == {1: 1.5, 2: 2.0}
