"""The cost window: one sliding window per run, from which c in [0, 1] is read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.rewards.cost import CostWindow, trajectory_cost
from tests.unit.rewards.trajectories import TELL, failed, refused, routed, said, trajectory

costs = st.floats(0, 1e9)
many_costs = st.lists(costs, min_size=1, max_size=60)


def a_window(values, **kwargs) -> CostWindow:
    window = CostWindow(**kwargs)
    for value in values:
        window.observe(value)
    return window


@given(many_costs)
def test_c_is_always_in_the_unit_interval(values):
    window = CostWindow(size=20)
    assert all(0.0 <= window.observe(v) <= 1.0 for v in values)


@given(many_costs, costs, costs)
def test_a_dearer_trajectory_never_has_a_better_c(values, one, other):
    window = a_window(values)
    assert window.normalize(min(one, other)) >= window.normalize(max(one, other))


@given(many_costs, costs, st.randoms())
def test_within_the_window_order_does_not_matter(values, cost, rng):
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert a_window(values).normalize(cost) == a_window(shuffled).normalize(cost)


@given(many_costs)
def test_c_follows_its_formula(values):
    roots = np.sqrt(values)
    low, high = np.percentile(roots, [5, 95])
    expected = 0.5 if high - low < 1e-8 else 1 - np.clip((roots[-1] - low) / (high - low), 0, 1)
    assert a_window(values[:-1]).observe(values[-1]) == pytest.approx(expected)


def test_known_values():
    window = a_window([0.0, 100.0], low=0, high=100)  # roots 0 and 10
    assert window.normalize(0.0) == 1.0
    assert window.normalize(25.0) == 0.5
    assert window.normalize(100.0) == window.normalize(1e6) == 0.0


def test_without_spread_c_is_neutral():
    window = CostWindow()
    assert window.normalize(3.0) == 0.5
    assert [window.observe(0.0) for _ in range(5)] == [0.5] * 5
    assert window.normalize(7.0) == 0.5


def test_the_window_forgets_what_is_older_than_its_size():
    window = a_window([1e9] * 500 + [float(i) for i in range(1000)])
    assert len(window) == 1000
    assert window.normalize(500.0) == a_window(float(i) for i in range(1000)).normalize(500.0)


@pytest.mark.parametrize("cost", [-1.0, math.nan, math.inf, -math.inf])
def test_an_impossible_cost_is_refused_and_leaves_the_window_as_it_was(cost):
    window = a_window([1.0, 2.0])
    before = window.state_dict()
    for call in (window.observe, window.normalize):
        with pytest.raises(ValueError, match="raw cost"):
            call(cost)
    assert window.state_dict() == before


@pytest.mark.parametrize("settings", [{"size": 0}, {"low": 95, "high": 5}, {"high": 101}, {"low": -1}])
def test_an_impossible_window_is_refused(settings):
    with pytest.raises(ValueError, match="size"):
        CostWindow(**settings)


@given(many_costs, many_costs)
def test_a_window_restored_from_json_continues_identically(before, after):
    window = a_window(before, size=20, low=10, high=90)
    restored = CostWindow()
    restored.load_state_dict(json.loads(json.dumps(window.state_dict())))
    assert [restored.observe(v) for v in after] == [window.observe(v) for v in after]
    assert restored.state_dict() == window.state_dict()


def test_a_saved_state_does_not_change_with_the_window():
    window = a_window([1.0, 2.0])
    state = window.state_dict()
    window.observe(3.0)
    assert len(state["roots"]) == 2


def test_a_training_trajectory_enters_the_window_before_it_is_normalised():
    window, reference = a_window([1.0, 9.0]), a_window([1.0, 9.0])
    assert trajectory_cost(window, trajectory(routed(raw_cost=4.0), said(TELL)), train=True) == reference.observe(4.0)
    assert len(window) == 3


def test_validation_reads_the_window_and_never_changes_it():
    window = a_window([float(i) for i in range(50)])
    before = window.state_dict()
    values = [
        trajectory_cost(window, trajectory(routed(raw_cost=c), said(TELL)), train=False) for c in (1.0, 30.0, 1e6)
    ]
    assert values == [window.normalize(c) for c in (1.0, 30.0, 1e6)]
    assert window.state_dict() == before


@pytest.mark.parametrize("train", [True, False])
def test_an_outage_earns_nothing(train):
    window = a_window([0.0, 10.0, 20.0])
    before = window.state_dict()
    assert trajectory_cost(window, trajectory(failed(), said(TELL)), train=train) == 0.5
    assert trajectory_cost(window, trajectory(routed(), failed(), said(TELL)), train=train) == 0.5
    assert window.state_dict() == before


def test_an_invalid_search_costs_nothing_but_enters_like_any_trajectory():
    window = a_window([0.0, 10.0, 20.0])
    assert trajectory_cost(window, trajectory(refused("<search> x </search>"), said(TELL)), train=True) == 1.0
    assert len(window) == 4
