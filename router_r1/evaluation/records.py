"""A trajectory as JSON types: what `infer_vllm.py --json` prints, and a benchmark writes line by line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from router_r1.protocol import Answer, InvalidSearch, NoAction, Search, Trajectory, Turn

_ACTIONS = {Search: "search", InvalidSearch: "invalid_search", Answer: "answer", NoAction: "none"}


def trajectory_record(trajectory: Trajectory) -> dict[str, Any]:
    """Answer, status, totals and turns; text only, no token ids.

    `raw_cost` is in micro-USD of output, `spend_usd` in USD, `latency_s` in seconds.
    """
    return {
        "answer": trajectory.answer,
        "status": trajectory.status.value,
        "routes": len(trajectory.routes),
        "failed_routes": trajectory.failed_routes,
        "raw_cost": trajectory.raw_cost,
        "spend_usd": trajectory.spend_usd,
        "policy_tokens": sum(trajectory.response_mask),
        "turns": [_turn_record(turn) for turn in trajectory.turns],
    }


def _turn_record(turn: Turn) -> dict[str, Any]:
    return {
        "text": turn.text,
        "action": _ACTIONS[type(turn.action)],
        "invalid_reason": turn.invalid_reason,
        "route": asdict(turn.route) if turn.route else None,
        "observation": turn.observation,
    }
