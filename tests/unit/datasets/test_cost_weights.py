"""The cost weight of a question."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router_r1.datasets import drawn_weight
from router_r1.prompts.cost_words import COST_WEIGHTS

seeds = st.integers(0, 2**32)
several = st.lists(st.floats(0, 1), min_size=1, max_size=8, unique=True)


def drawn(weights, seed, n):
    return [drawn_weight(weights, seed, index) for index in range(n)]


@given(several, seeds, st.integers(0, 100))
def test_weights_are_the_same_for_the_same_seed_and_evenly_spread(weights, seed, n):
    counts = Counter(drawn(weights, seed, n))
    assert counts == Counter(drawn(weights, seed, n))
    assert set(counts) <= set(weights)
    assert max(counts[w] for w in weights) - min(counts[w] for w in weights) <= 1


@given(several, seeds, st.integers(0, 1000))
def test_the_weight_of_a_question_does_not_depend_on_how_many_there_are(weights, seed, index):
    assert drawn(weights, seed, index + 1)[-1] == drawn_weight(weights, seed, index)


def test_another_seed_draws_others_and_their_order_is_no_pattern():
    one, other = (drawn(COST_WEIGHTS, seed, 600) for seed in (0, 1))
    assert one != other
    places = Counter(index % 6 for index, weight in enumerate(one) if weight == 0.6)
    assert set(places) == set(range(6))
    assert max(places.values()) < 35, "of 100"


def test_without_weights_none_is_drawn():
    assert drawn_weight((), 0, 7) is None
