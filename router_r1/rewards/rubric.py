"""Composition of format, outcome and cost into one scalar reward, with everything that is reported beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from router_r1.protocol import InvalidSearch, Search, Status, Trajectory, Turn
from router_r1.rewards.format import check_format
from router_r1.rewards.outcome import exact_match, f1_score

if TYPE_CHECKING:
    from router_r1.pool.schema import RoutingPool


class RewardConfig(BaseModel):
    """How outcome and cost make the reward of a trajectory whose format is valid."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metric: Literal["em", "f1"] = "em"
    """The outcome m: exact match or token F1."""
    cost_coe: float = Field(default=0.0, ge=0.0, le=1.0)
    """alpha: weight of the cost term against the outcome; 0 = accuracy alone."""
    cost_gate: Literal["correct_only", "always"] = "correct_only"
    """Who earns for being cheap: trajectories with m > 0, or all."""


def compose(format_ok: bool, outcome: float, cost: float, config: RewardConfig) -> float:
    """The reward: -1 for a broken format, else in [0, 1].

    Args:
        format_ok: the trajectory keeps the format.
        outcome: m in [0, 1].
        cost: c in [0, 1], 1 = cheap.
        config: weights and gate.
    """
    if not format_ok:
        return -1.0
    if outcome == 0.0 and config.cost_gate == "correct_only":
        return 0.0
    return (1.0 - config.cost_coe) * outcome + config.cost_coe * cost


@dataclass(frozen=True)
class Reward:
    """The reward of one trajectory, and the components reported beside it."""

    reward: float  # -1, or in [0, 1]
    em: float  # of the answer itself, whatever its format
    f1: float
    format_error: str  # the broken rule in words; "" if the format is valid
    cost: float  # c in [0, 1], 1 = cheap
    raw_cost: float  # micro-USD of output
    spend_usd: float
    turns: int
    invalid_searches: int  # searches that name no candidate or ask nothing; outages and searches too late are none
    failed_routes: int  # dispatched, but without a reply
    answered: bool
    status: Status
    candidates: dict[str, int]  # routes to each candidate of the pool, in the pool's order

    @property
    def routes(self) -> int:
        """Dispatched searches, failed ones included."""
        return sum(self.candidates.values())

    def as_metrics(self) -> dict[str, float]:
        """Numbers to average over trajectories. The keys depend on the pool alone, not on the trajectory."""
        return {
            "reward": float(self.reward),
            "em": float(self.em),
            "f1": float(self.f1),
            "format": -1.0 if self.format_error else 0.0,
            "cost": float(self.cost),
            "raw_cost": float(self.raw_cost),
            "spend_usd": float(self.spend_usd),
            "routes": float(self.routes),
            "valid_routes": float(self.routes - self.failed_routes),
            "failed_routes": float(self.failed_routes),
            "invalid_searches": float(self.invalid_searches),
            "turns": float(self.turns),
            "answered": float(self.answered),
            **{f"status/{status.value}": float(self.status is status) for status in Status},
            **{f"candidate/{name}": float(count) for name, count in self.candidates.items()},
        }


def score(
    trajectory: Trajectory,
    golden: Sequence[str],
    *,
    config: RewardConfig,
    pool: RoutingPool,
    cost: float,
) -> Reward:
    """Score a finished trajectory.

    Args:
        trajectory: what the loop returned.
        golden: golden answers, any of which is right.
        config: metric, cost coefficient and gate.
        pool: the candidates that were offered.
        cost: its cost term c in [0, 1], usually `cost.trajectory_cost` on the window of the run.
    """
    em, f1 = exact_match(trajectory.answer, golden), f1_score(trajectory.answer, golden)
    format_error = check_format(trajectory, pool)
    routed = Counter(route.candidate for route in trajectory.routes)
    return Reward(
        reward=compose(not format_error, em if config.metric == "em" else f1, cost, config),
        em=em,
        f1=f1,
        format_error=format_error,
        cost=cost,
        raw_cost=trajectory.raw_cost,
        spend_usd=trajectory.spend_usd,
        turns=len(trajectory.turns),
        invalid_searches=sum(_is_invalid_search(turn, pool) for turn in trajectory.turns),
        failed_routes=trajectory.failed_routes,
        answered=trajectory.answer is not None,
        status=trajectory.status,
        candidates={name: routed[name] for name in pool.names},
    )


def _is_invalid_search(turn: Turn, pool: RoutingPool) -> bool:
    if isinstance(turn.action, Search):  # well-formed; a valid one may still come too late to be dispatched
        return pool.resolve(turn.action.candidate) is None
    return isinstance(turn.action, InvalidSearch)
