"""Router-R1: reinforcement-learned routing of questions to a pool of LLMs.

    from router_r1 import Router

    with Router.open(run="latest") as router:
        trajectory = router.ask("Who wrote Emma?")
        trajectory.answer, trajectory.routes, trajectory.raw_cost

What is named in `__all__` is the public API: it is documented, and a change to it is told in the changelog. A name is
imported when it is first used, so that `import router_r1` costs nothing and loads neither torch nor an engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from router_r1.benchmark.runner import Benchmark
    from router_r1.errors import BudgetSpent, ConfigError
    from router_r1.methods import Method, trajectory_of
    from router_r1.pool import Candidate, Deal, RoutingPool, Shown, load_pool
    from router_r1.protocol import Route, Status, Trajectory, Turn
    from router_r1.rewards.rubric import Reward, RewardConfig, Rubric, score
    from router_r1.rollout.loop import RolloutLimits, run_trajectory
    from router_r1.router import Router
    from router_r1.routing import RouteService, RoutingConfig
    from router_r1.settings import RouterOptions

_HOMES = {
    "Benchmark": "router_r1.benchmark.runner",
    "BudgetSpent": "router_r1.errors",
    "Candidate": "router_r1.pool",
    "ConfigError": "router_r1.errors",
    "Deal": "router_r1.pool",
    "Method": "router_r1.methods",
    "Reward": "router_r1.rewards.rubric",
    "RewardConfig": "router_r1.rewards.rubric",
    "RolloutLimits": "router_r1.rollout.loop",
    "Route": "router_r1.protocol",
    "RouteService": "router_r1.routing",
    "Router": "router_r1.router",
    "RouterOptions": "router_r1.settings",
    "RoutingConfig": "router_r1.routing",
    "RoutingPool": "router_r1.pool",
    "Rubric": "router_r1.rewards.rubric",
    "Shown": "router_r1.pool",
    "Status": "router_r1.protocol",
    "Trajectory": "router_r1.protocol",
    "Turn": "router_r1.protocol",
    "load_pool": "router_r1.pool",
    "run_trajectory": "router_r1.rollout.loop",
    "score": "router_r1.rewards.rubric",
    "trajectory_of": "router_r1.methods",
}

__all__ = [
    "Benchmark",
    "BudgetSpent",
    "Candidate",
    "ConfigError",
    "Deal",
    "Method",
    "Reward",
    "RewardConfig",
    "RolloutLimits",
    "Route",
    "RouteService",
    "Router",
    "RouterOptions",
    "RoutingConfig",
    "RoutingPool",
    "Rubric",
    "Shown",
    "Status",
    "Trajectory",
    "Turn",
    "load_pool",
    "run_trajectory",
    "score",
    "trajectory_of",
]


def __getattr__(name: str) -> Any:
    """The public name, imported at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
