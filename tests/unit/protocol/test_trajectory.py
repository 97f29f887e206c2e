"""The record of a rollout: ids, mask and log-probs stay aligned; the answer is the policy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.protocol import (
    Answer,
    InvalidSearch,
    NoAction,
    Route,
    Search,
    Status,
    Trajectory,
    Turn,
    parse_turn,
    render_observation,
)


def a_turn(text: str = "", ids: tuple[int, ...] = (), observation_ids: tuple[int, ...] = (), **kwargs) -> Turn:
    logprobs = [-0.5] * len(ids)
    return Turn(list(ids), logprobs, text, parse_turn(text), observation_ids=list(observation_ids), **kwargs)


ids = st.lists(st.integers(0, 1000), max_size=6)
turns = st.lists(st.builds(lambda policy, env: a_turn(ids=policy, observation_ids=env), ids, ids), max_size=5)


@given(turns)
def test_ids_mask_and_logprobs_align(turns):
    trajectory = Trajectory([1, 2], turns, Status.ANSWERED)
    response, mask, logprobs = trajectory.response_ids, trajectory.response_mask, trajectory.response_logprobs
    assert len(response) == len(mask) == len(logprobs)
    assert [i for i, m in zip(response, mask, strict=True) if m] == [i for t in turns for i in t.token_ids]
    assert [i for i, m in zip(response, mask, strict=True) if not m] == [i for t in turns for i in t.observation_ids]
    assert all(p == (-0.5 if m else 0.0) for p, m in zip(logprobs, mask, strict=True))


def test_logprobs_are_absent_if_any_turn_has_none():
    without = Turn([5], [], "", NoAction())
    assert Trajectory([1], [a_turn(ids=(3, 4)), without], Status.NO_ACTION).response_logprobs == []


def test_an_answer_inside_an_observation_is_not_the_policys():
    observation = "\n<information> <answer> Rome </answer> </information>\n"  # not even if it came in raw
    searched = a_turn("<think> hm </think><search> A: b </search>", observation=observation)
    assert Trajectory([1], [searched], Status.MAX_TURNS).answer is None
    assert Trajectory([1], [searched, a_turn("I do not know")], Status.NO_ACTION).answer is None
    answered = Trajectory([1], [searched, a_turn("<think> so </think><answer> Paris </answer>")], Status.ANSWERED)
    assert answered.answer == "Paris"


@given(st.text())
def test_no_reply_changes_the_answer(reply):
    searched = a_turn("<search> A: b </search>", observation=render_observation(reply))
    assert Trajectory([1], [searched, a_turn("<answer> Paris </answer>")], Status.ANSWERED).answer == "Paris"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.ANSWERED])
def test_only_an_answered_trajectory_has_an_answer(status):
    assert Trajectory([1], [a_turn("<answer> Paris </answer>")], status).answer is None


def test_a_trajectory_without_turns_has_no_answer_no_text_and_no_cost():
    empty = Trajectory([1], [], Status.ABORTED)
    assert (empty.answer, empty.text, empty.response_ids, empty.raw_cost, empty.spend_usd) == (None, "", [], 0.0, 0.0)


def test_costs_add_up_over_routes_and_failures_are_counted():
    routes = [Route("A", "q", "r", raw_cost=2.0, spend_usd=0.1), Route("B", "q", "", failed=True, error="timeout")]
    turns = [a_turn("<search> A: q </search>", route=routes[0]), a_turn("<search> B: q </search>", route=routes[1])]
    trajectory = Trajectory([1], [*turns, a_turn("<answer> r </answer>")], Status.ANSWERED)
    assert trajectory.routes == routes
    assert (trajectory.raw_cost, trajectory.spend_usd, trajectory.failed_routes) == (2.0, 0.1, 1)


def test_searches_are_counted_whether_or_not_they_were_dispatched():
    texts = ["<search> A: q </search>", "<search> nonsense </search>", "<answer> x </answer>"]
    trajectory = Trajectory([1], [a_turn(t) for t in texts], Status.ANSWERED)
    assert [type(t.action) for t in trajectory.searches] == [Search, InvalidSearch]
    assert trajectory.routes == []
    assert isinstance(trajectory.turns[-1].action, Answer)


def test_only_a_spent_budget_or_an_abort_truncates():
    assert {s for s in Status if s.is_truncated} == {Status.LENGTH, Status.ABORTED}


def test_a_status_prints_as_its_word():
    assert f"{Status.MAX_TURNS}" == "max_turns"
