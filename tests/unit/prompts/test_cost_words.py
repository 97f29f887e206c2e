"""The word for a cost weight."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.prompts import load_template
from router_r1.prompts.cost_words import COST_WEIGHTS, LEVELS, cost_word, fault_of

weights = st.floats(0, 1)


@pytest.mark.parametrize(
    ("weight", "word"),
    [(0, "nothing"), (0.2, "little"), (0.4, "some"), (0.6, "much"), (0.8, "more"), (0.95, "most")],
)
def test_each_level_has_a_word(weight, word):
    assert cost_word(weight) == word


@pytest.mark.parametrize(("weight", "word"), [(None, "nothing"), (0.05, "nothing"), (0.11, "little"), (1, "most")])
def test_another_weight_is_told_by_the_nearest_level(weight, word):
    assert cost_word(weight) == word


@given(weights, weights)
def test_a_greater_weight_is_never_told_by_a_lesser_word(one, other):
    scale = list(LEVELS.values())
    low, high = sorted((one, other))
    assert scale.index(cost_word(low)) <= scale.index(cost_word(high))


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (COST_WEIGHTS, ""),
        ([0.5], ""),
        ([], "at least one"),
        ([0.2, -0.1], r"in \[0, 1\]"),
        ([float("nan")], r"in \[0, 1\]"),
        ([0.6, 0.55], r"0\.6 and 0\.55 alike \(much\)"),
        ([0.6, 0.6], "alike"),
    ],
)
def test_weights_that_a_policy_could_not_tell_apart_are_at_fault(written, fault):
    assert re.search(fault or "^$", fault_of(written))


@pytest.mark.parametrize("name", ["qwen", "llama"])
def test_templates_for_large_models_say_the_whole_scale(name):
    assert f"on the scale {', '.join(LEVELS.values())})" in load_template(name).text
