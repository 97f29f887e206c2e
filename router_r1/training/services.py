"""The two things that all workers of a run share, each one Ray actor: the route service and the cost window.

They are named, and live in the job's own Ray namespace: two runs on one cluster never meet. `CheckpointHook` starts
them in the trainer's process before any rollout worker looks them up.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import ray
from ray.actor import ActorHandle

from router_r1.pool import RoutingPool
from router_r1.protocol import Route, Trajectory
from router_r1.rewards.cost import CostWindow, trajectory_cost
from router_r1.routing import RouteService

ROUTES, COST_WINDOW = "router_r1_routes", "router_r1_cost_window"


@ray.remote(num_cpus=0, max_concurrency=10_000)
class RouteActor:
    """One `RouteService` for the run, so that concurrency and rate limits hold for all workers together."""

    def __init__(self, pool: RoutingPool) -> None:
        self._pool = pool
        self._service = RouteService(pool)

    async def pool(self) -> RoutingPool:
        return self._pool

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        return await self._service.route(candidate, query, trajectory_id=trajectory_id)


@ray.remote(num_cpus=0)
class CostWindowActor:
    """The run's one `CostWindow`; calls are served one at a time, so every trajectory is seen exactly once."""

    def __init__(self, state: dict | None = None) -> None:
        self._window = CostWindow()
        if state is not None:
            self._window.load_state_dict(state)

    def cost(self, trajectory: Trajectory, *, train: bool) -> float:
        return trajectory_cost(self._window, trajectory, train=train)

    def state_dict(self) -> dict:
        return self._window.state_dict()


def start(pool: RoutingPool, window_state: dict | None) -> tuple[ActorHandle, ActorHandle]:
    """Start both actors; they live as long as the returned handles."""
    return (
        RouteActor.options(name=ROUTES).remote(pool),  # type: ignore[attr-defined]  # added by the decorator
        CostWindowActor.options(name=COST_WINDOW).remote(window_state),  # type: ignore[attr-defined]
    )


@dataclass(frozen=True)
class Services:
    """A worker's view of the shared actors; a `rollout.policy.Dispatcher`."""

    routes: ActorHandle
    window: ActorHandle
    pool: RoutingPool

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        return await self.routes.route.remote(candidate, query, trajectory_id=trajectory_id)

    async def cost(self, trajectory: Trajectory, *, train: bool) -> float:
        return await self.window.cost.remote(trajectory, train=train)


@functools.cache
def connect() -> Services:
    """The run's services, looked up once per worker process."""
    routes = ray.get_actor(ROUTES)
    return Services(routes, ray.get_actor(COST_WINDOW), ray.get(routes.pool.remote()))
