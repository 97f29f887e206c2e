"""Trajectories as the loop leaves them, built from the texts of their turns."""

from __future__ import annotations

from router_r1.protocol import Route, Search, Status, Trajectory, Turn, parse_turn, render_observation

QWEN = "Qwen2.5-7B-Instruct"
ASK = f"<think> I should ask </think>\n<search> {QWEN}: capital of France? </search>"
TELL = "<think> so it is </think>\n<answer> Paris </answer>"


def said(text: str) -> Turn:
    """A turn that nothing answered."""
    return Turn([1, 2, 3], [], text, parse_turn(text))


def routed(text: str = ASK, *, to: str = QWEN, reply: str = "It is Paris.", raw_cost: float = 4.0) -> Turn:
    turn = said(text)
    query = turn.action.query if isinstance(turn.action, Search) else ""
    turn.route = Route(to, query, reply, raw_cost=raw_cost, spend_usd=raw_cost * 1e-6)
    turn.observation, turn.observation_ids = render_observation(reply), [7, 8]
    return turn


def failed(text: str = ASK, *, to: str = QWEN) -> Turn:
    turn = routed(text, to=to)
    turn.route = Route(to, "q", "", failed=True, error="timeout")
    turn.observation = render_observation("no information could be had")
    return turn


def refused(text: str, reason: str = "there is no candidate of that name") -> Turn:
    """A search that was answered by what is wrong with it."""
    turn = said(text)
    turn.invalid_reason, turn.observation, turn.observation_ids = reason, render_observation(reason), [7, 8]
    return turn


def too_late(text: str = ASK) -> Turn:
    """A search in the last turn: never dispatched."""
    turn = said(text)
    turn.invalid_reason = "no more routes are allowed"
    return turn


def trajectory(*turns: Turn, status: Status = Status.ANSWERED) -> Trajectory:
    return Trajectory([9, 9], list(turns), status)
