"""What all workers of a run share, as Ray actors: the route service, in one shard or several, and the cost window.

They are named, and live in the job's own Ray namespace: two runs on one cluster never meet. `CheckpointHook` starts
them in the trainer's process before any rollout worker looks them up, and on its node: their keys, cache, traces and
metrics are there and nowhere else.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

from router_r1 import memory
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, missing_api_keys
from router_r1.protocol import Route, Trajectory
from router_r1.rewards.cost import CostWindow, trajectory_cost
from router_r1.routing import RouteService, RoutingConfig
from router_r1.routing.ledger import Ledger
from router_r1.routing.sharding import shard_candidates
from router_r1.training.nodes import on_this_node

_CONNECTING = threading.Lock()
ROUTES, COST_WINDOW = "router_r1_routes", "router_r1_cost_window"


@ray.remote(num_cpus=0, max_concurrency=10_000)
class RouteActor:
    """One `RouteService` for all workers of the run, or for one shard of the candidates, so that limits are exact."""

    def __init__(self, pool: RoutingPool, config: RoutingConfig) -> None:
        self._pool, self._config = pool, config
        self._service = RouteService(pool, config=config)

    async def plan(self) -> tuple[RoutingPool, RoutingConfig]:
        """What the run's services were started with."""
        return self._pool, self._config

    async def missing_key(self) -> ConfigError | None:
        """What the pool needs and this process' environment has not."""
        return next(iter(missing_api_keys(self._pool)), None)

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        return await self._service.route(candidate, query, trajectory_id=trajectory_id)

    async def ledger(self) -> Ledger:
        """What was asked and what it cost so far."""
        return self._service.ledger


@ray.remote(num_cpus=0)
class CostWindowActor:
    """The run's one `CostWindow`; calls are served one at a time, so every trajectory is seen exactly once."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._window = CostWindow()
        if state is not None:
            self._window.load_state_dict(state)

    def cost(self, trajectory: Trajectory, *, train: bool) -> float:
        return trajectory_cost(self._window, trajectory, train=train)

    def state_dict(self) -> dict[str, Any]:
        return self._window.state_dict()


def start(
    pool: RoutingPool, config: RoutingConfig, window_state: dict[str, Any] | None
) -> tuple[list[ActorHandle], ActorHandle]:
    """Start all actors on this node; they live as long as the returned handles.

    Raises:
        ConfigError: the actors' environment lacks a key. On a cluster it is that of `ray start`, not of the command.
    """
    here = on_this_node()
    route_actor, window_actor = RouteActor.options, CostWindowActor.options  # type: ignore[attr-defined]  # of `remote`
    routes = [
        route_actor(name=f"{ROUTES}_{shard}", scheduling_strategy=here).remote(pool, config.for_shard(shard))
        for shard in range(config.shards)
    ]
    window = window_actor(name=COST_WINDOW, scheduling_strategy=here).remote(window_state)
    if fault := ray.get(routes[0].missing_key.remote()):
        remedy = (
            f"{fault.remedy}; on a Ray cluster in the shell of `ray start`, on the machine that starts the training"
        )
        raise ConfigError(fault.source, fault.key, fault.value, remedy)
    return routes, window


@dataclass(frozen=True)
class Services:
    """A worker's view of the shared actors; a `rollout.policy.Dispatcher`."""

    routes: list[ActorHandle]  # [num_shards]
    shard_of: dict[str, int]  # candidate -> its shard
    window: ActorHandle
    pool: RoutingPool
    config: RoutingConfig

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        service = self.routes[self.shard_of[candidate]]
        route: Route = await service.route.remote(candidate, query, trajectory_id=trajectory_id)
        return route

    async def cost(self, trajectory: Trajectory, *, train: bool) -> float:
        cost: float = await self.window.cost.remote(trajectory, train=train)
        return cost

    def ledger(self) -> Ledger:
        """The books of all shards together."""
        ledger = Ledger(self.pool.names, self.config.budget_usd)
        for books in ray.get([service.ledger.remote() for service in self.routes]):
            ledger.absorb(books)
        return ledger


def connect() -> Services:
    """The run's services, looked up once per worker process, whichever of its threads is the first."""
    with _CONNECTING:
        return _connect()


@functools.cache
def _connect() -> Services:
    memory.settle()  # a worker asks for them when it has loaded whatever it needs
    first = ray.get_actor(f"{ROUTES}_0")
    pool, config = ray.get(first.plan.remote())
    routes = [first, *(ray.get_actor(f"{ROUTES}_{shard}") for shard in range(1, config.shards))]
    return Services(routes, shard_candidates(pool, config.shards), ray.get_actor(COST_WINDOW), pool, config)
