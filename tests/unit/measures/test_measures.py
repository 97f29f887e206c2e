"""How routes spread over candidates, and what the kind of a question says about whom is asked."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.measures import effective_candidates, kind_information, route_measures, top_share

COUNTS = st.dictionaries(st.text(max_size=3), st.integers(0, 10_000), max_size=12)
ASKED = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("ABCDEFGH")), max_size=80)


def entropy_bits(values: list[str]) -> float:
    return -sum(n / len(values) * math.log2(n / len(values)) for n in Counter(values).values())


# ---------------------------------------------------------------- spread


@pytest.mark.parametrize(
    ("routes", "share", "effective"),
    [
        ({"a": 5}, 1.0, 1.0),
        ({"a": 5, "b": 0}, 1.0, 1.0),
        ({"a": 1, "b": 1}, 0.5, 2.0),
        ({"a": 3, "b": 1}, 0.75, 4 / 3**0.75),
        ({"a": 2, "b": 1, "c": 1}, 0.5, 2**1.5),
    ],
)
def test_a_spread_that_is_known_by_hand(routes, share, effective):
    assert top_share(routes) == share
    assert effective_candidates(routes) == pytest.approx(effective)


@pytest.mark.parametrize("routes", [{}, {"a": 0, "b": 0}])
def test_without_routes_there_is_no_share_and_no_candidate(routes):
    assert route_measures(routes, []) == {"top_share": 0.0, "effective_candidates": 0.0, "kind_information": 0.0}


@given(COUNTS)
def test_there_are_at_least_one_and_at_most_as_many_effective_candidates_as_are_used(routes):
    used = sum(count > 0 for count in routes.values())
    assert min(used, 1) - 1e-9 <= effective_candidates(routes) <= used + 1e-9


@given(COUNTS)
def test_the_top_share_is_at_least_an_even_one_and_bounds_the_effective_number_from_above(routes):
    """exp(H) is at least 1 / max p: entropies of a higher order are lower, and that of order infinity is -ln max p."""
    used = sum(count > 0 for count in routes.values())
    if used:
        assert 1 / used - 1e-9 <= top_share(routes) <= 1
        assert effective_candidates(routes) >= 1 / top_share(routes) - 1e-9


@given(st.integers(1, 50), st.integers(1, 1000))
def test_candidates_that_are_used_alike_count_in_full(number, routes_each):
    routes = {str(i): routes_each for i in range(number)}
    assert effective_candidates(routes) == pytest.approx(number)
    assert top_share(routes) == pytest.approx(1 / number)


@given(COUNTS, st.integers(1, 9))
def test_only_shares_matter_and_neither_names_nor_order(routes, factor):
    scaled = {f"other {name}": factor * count for name, count in reversed(routes.items())}
    assert effective_candidates(scaled) == pytest.approx(effective_candidates(routes))
    assert top_share(scaled) == pytest.approx(top_share(routes))


# ---------------------------------------------------------------- dependence on the kind


def test_a_candidate_for_each_of_two_kinds_is_one_bit():
    assert kind_information([("film", "A"), ("music", "B")] * 20) == 1.0


def test_one_candidate_whatever_the_kind_is_no_information():
    assert kind_information([(kind, "A") for kind in "abcdef"] * 9) == 0.0


def test_a_dependence_that_is_known_by_hand():
    """Film goes to A; music to A or B alike: H(candidate) - H(candidate | kind) = H(1/4) - 1/2."""
    asked = [("film", "A")] * 2 + [("music", "A"), ("music", "B")]
    expected = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)) - 0.5
    assert kind_information(asked) == pytest.approx(expected)


@given(ASKED)
def test_information_lies_between_nothing_and_the_smaller_entropy(asked):
    kinds, candidates = [kind for kind, _ in asked], [candidate for _, candidate in asked]
    bound = min(entropy_bits(kinds), entropy_bits(candidates)) if asked else 0.0
    assert 0 <= kind_information(asked) <= bound + 1e-9


@given(ASKED, st.permutations("abcdef"), st.permutations("ABCDEFGH"), st.randoms())
def test_names_order_and_which_is_which_do_not_matter(asked, kinds, candidates, random):
    renamed = [(kinds["abcdef".index(k)], candidates["ABCDEFGH".index(c)]) for k, c in asked]
    random.shuffle(renamed)
    assert kind_information(renamed) == kind_information(asked)
    assert kind_information([(c, k) for k, c in asked]) == kind_information(asked)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_a_choice_that_does_not_depend_on_the_kind_is_no_information(kinds, candidates):
    asked = [
        (str(kind), str(candidate))
        for kind, often in enumerate(kinds)
        for candidate, as_often in enumerate(candidates)
        for _ in range(often * as_often)
    ]
    assert kind_information(asked) == pytest.approx(0, abs=1e-12)
