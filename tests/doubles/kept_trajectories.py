"""Trajectories for tests of the store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from router_r1.protocol import Route
from router_r1.trajectories import KeptTrajectory
from router_r1.trajectories.kept import routes_to


def asking(*candidates: str, query: str = "sub-query", reply: str = "reply") -> list[Any]:
    """Turns that ask these candidates, and then answer."""
    turns = [
        {
            "text": f"<think> a thought </think> <search> {name}: {query} </search>",
            "action": "search",
            "invalid_reason": "",
            "route": asdict(Route(name, query, reply, completion_tokens=4, raw_cost=2.0)),
            "observation": f"\n<information> {reply} </information>\n",
        }
        for name in candidates
    ]
    text = "<think> I was told. </think> <answer> Paris </answer>"
    return [*turns, {"text": text, "action": "answer", "invalid_reason": "", "route": None, "observation": ""}]


def kept(number: int, *candidates: str, **facts: Any) -> KeptTrajectory:
    """The trajectory `t<number>`, of the second `number`."""
    turns = asking(*candidates)
    given: dict[str, Any] = {
        "id": f"t{number}",
        "time": float(number),
        "source": "server",
        "question": f"What is the capital of country {number}?",
        "answer": "Paris",
        "status": "answered",
        "format_error": "",
        "model": "router-r1",
        "raw_cost": 2.0 * len(candidates),
        "candidates": routes_to(turns),
        "turns": turns,
    }
    return KeptTrajectory(**given | facts)
