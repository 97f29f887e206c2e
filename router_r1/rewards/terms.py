"""What a term of the reward may ask for; the three terms of the paper's reward, and another for cost.

A term is a plain function of what it asks for by name, and returns a number. Of a user's own, for example:

    def brevity(trajectory, format_error):
        return 0.0 if format_error else -sum(trajectory.response_mask) / 1000
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

from router_r1.rewards.cost import NEUTRAL

if TYPE_CHECKING:
    from router_r1.pool.schema import RoutingPool
    from router_r1.protocol import Trajectory
    from router_r1.rewards.rubric import RewardConfig

Term = Callable[..., float]
"""Takes those of `TermArguments` that it names as its parameters; returns a finite number."""


class TermArguments(TypedDict):
    """All that a term may ask for."""

    trajectory: Trajectory  # what the loop returned
    golden_answers: tuple[str, ...]  # any of them is right
    pool: RoutingPool  # the candidates that were offered, by the names they were shown by
    answer: str | None  # the policy's; None unless the trajectory was answered
    em: float  # exact match of the answer, 0 or 1, whatever its format
    f1: float  # token F1 of the answer in [0, 1], whatever its format
    outcome: float  # m: the one of em and f1 that `metric` chooses
    format_error: str  # the broken rule in words; "" if the format is valid
    cost: float  # c in [0, 1], 1 = cheap
    raw_cost: float  # micro-USD of output
    spend_usd: float
    cost_coe: float  # alpha of this trajectory: the configured one, or its question's
    config: RewardConfig  # its cost_coe is that of this trajectory, too


ARGUMENTS = tuple(TermArguments.__annotations__)


def format_term(format_error: str) -> float:
    """-1 for a broken format, else 0."""
    return -1.0 if format_error else 0.0


def outcome_term(format_error: str, outcome: float, cost_coe: float) -> float:
    """(1 - alpha) m; 0 for a broken format."""
    return 0.0 if format_error else (1.0 - cost_coe) * outcome


def cost_term(format_error: str, outcome: float, cost: float, cost_coe: float, config: RewardConfig) -> float:
    """alpha c; 0 for a broken format, and for m = 0 if only the correct earn for being cheap."""
    return cost_coe * cost if _earns_for_cost(format_error, outcome, config) else 0.0


def linear_cost_term(
    format_error: str, outcome: float, trajectory: Trajectory, raw_cost: float, cost_coe: float, config: RewardConfig
) -> float:
    """The same with c = 1 - min(raw cost / `cost_full`, 1): what a route costs counts alike whatever was asked before.

    With a failed route c is 0.5, as in the window: an outage saves nothing.
    """
    assert config.cost_full is not None  # the rubric has checked it
    c = NEUTRAL if trajectory.failed_routes else 1.0 - min(raw_cost / config.cost_full, 1.0)
    return cost_coe * c if _earns_for_cost(format_error, outcome, config) else 0.0


def _earns_for_cost(format_error: str, outcome: float, config: RewardConfig) -> bool:
    return not format_error and (outcome != 0.0 or config.cost_gate == "always")


PAPERS: Mapping[str, Term] = {"format": format_term, "outcome": outcome_term, "cost": cost_term}
"""The terms which together are the paper's reward."""

BUILT_IN: Mapping[str, Term] = {**PAPERS, "linear_cost": linear_cost_term}
"""The terms that a configuration can name by a single word."""
