"""Several servers behind one address, through Ray Serve, which starts, watches and replaces them.

    serve run router_r1.serving.ray_serve:app run=latest num_replicas=2 client_keys=keys

A replica is a process with a router of its own: engine, connections to candidates, limits. Nothing is shared between
replicas. Invariants:

- what money and rates are allowed is divided by the number of replicas, so that all together never exceed it; a key
  whose requests happen to meet one replica may be refused sooner;
- places and queues are each replica's own: more replicas, more trajectories at a time;
- keys are always asked for: who can reach Ray Serve's address is not decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ray import serve

from router_r1 import memory
from router_r1.errors import ConfigError, validated
from router_r1.router import open_router
from router_r1.routing.config import RoutingConfig
from router_r1.serving.app import Application
from router_r1.serving.connections import Receive, Send
from router_r1.serving.defaults import with_default_policy
from router_r1.serving.fitted import MoreMethods, more_methods
from router_r1.serving.keys import Keys, load_keys
from router_r1.serving.observing import access_logger
from router_r1.serving.options import ServingOptions
from router_r1.serving.recording import open_store
from router_r1.settings import RouterOptions, RouterSettings, make_settings

_SOURCE = "serve run"
_RAYS_OWN = ("host", "port", "port_file")
_MORE_AT_A_TIME = 64  # beside trajectories and those that wait: requests that are refused, health, metrics

logger = logging.getLogger(__name__)


def app(args: Mapping[str, str]) -> Any:
    """What `serve run` and `serve deploy` start.

    Args:
        args: `num_replicas` (1), `num_cpus` (1) and `num_gpus` (0) of a replica, and any option of `router-r1 serve` by
            its name with underscores; several values of one option are separated by commas. Files must be there on
            every machine that has a replica.

    Raises:
        ConfigError: an option is wrong, is up to Ray Serve, or no keys are given.
    """
    given = dict(args)
    replicas = _number(given, "num_replicas", 1)
    resources = {"num_cpus": _number(given, "num_cpus", 1), "num_gpus": _number(given, "num_gpus", 0)}
    serving, options = _options(given, replicas)
    _open(serving, options)  # what is wrong is refused here, once, before a replica is started

    def build() -> Replica:
        return Replica(serving, options)

    class RouterR1:
        async def check_health(self) -> None:
            """Ray Serve replaces a replica for which this raises three times in a row."""
            self.app.check_health()  # type: ignore[attr-defined]  # Ray Serve's own attribute: what `build` made

    deployed = serve.deployment(
        name="router-r1",
        num_replicas=replicas,
        ray_actor_options=resources,
        max_ongoing_requests=serving.max_concurrent + serving.max_waiting + _MORE_AT_A_TIME,
        graceful_shutdown_timeout_s=serving.drain_s,
    )
    return deployed(serve.ingress(build)(RouterR1)).bind()


class Replica:
    """The server of one replica, an ASGI application whose router is open while its lifespan lasts."""

    def __init__(self, serving: ServingOptions, options: RouterOptions) -> None:
        self._serving, self._options = serving, options
        self._app: Application | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._app is not None, "Ray Serve sends requests after the lifespan's start"
        await self._app(scope, receive, send)

    def check_health(self) -> None:
        """Raises RuntimeError while the policy's back end fails."""
        if self._app is not None and not self._app.answering.is_ready:
            raise RuntimeError("the policy failed")

    async def _live(self, receive: Receive, send: Send) -> None:
        """asgi.readthedocs.io/en/latest/specs/lifespan.html"""
        await receive()
        try:
            async with self._opened() as self._app:
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except (ConfigError, RuntimeError) as fault:
            logger.error("%s", fault)
            state = "startup" if self._app is None else "shutdown"
            await send({"type": f"lifespan.{state}.failed", "message": str(fault)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Application]:
        settings, keys, more = await asyncio.to_thread(_open, self._serving, self._options)
        with open_store(self._serving) as store:
            async with open_router(settings) as router:
                app = Application(router, self._serving, keys, access_logger(self._serving.access_log), store, more)
                memory.settle()
                try:
                    yield app
                finally:
                    app.close()


def _open(serving: ServingOptions, options: RouterOptions) -> tuple[RouterSettings, Keys, MoreMethods]:
    keys = load_keys(serving.client_keys, serving.client_key_variable)
    if not keys:
        raise ConfigError(
            _SOURCE, "client_keys", None, "is needed, or client_key_variable: who can reach it is not known"
        )
    settings = make_settings(with_default_policy(options))
    return settings, keys, more_methods(serving, settings.pool, seed=settings.options.seed)


def _options(given: dict[str, str], replicas: int) -> tuple[ServingOptions, RouterOptions]:
    """The options, and each replica's share of what they allow."""
    for name in _RAYS_OWN:
        if name in given:
            raise ConfigError(_SOURCE, name, given[name], "is up to Ray Serve: serve start --http-host, --http-port")
    serving = validated(ServingOptions, _SOURCE, _taken(given, ServingOptions.model_fields))
    routing = validated(RoutingConfig, _SOURCE, _taken(given, RoutingConfig.model_fields))
    several: dict[str, Any] = {
        name: tuple(given.pop(name).split(",")) for name in ("base_url", "sim_qa") if name in given
    }
    options = validated(RouterOptions, _SOURCE, {**given, **several, "routing": routing})
    if options.method:
        raise ConfigError(_SOURCE, "method", options.method, "is chosen by each request, as its model; leave it out")
    rate, day, budget = serving.requests_per_minute, serving.spend_per_day_usd, routing.budget_usd
    serving = serving.model_copy(
        update={
            "requests_per_minute": None if rate is None else max(1, rate // replicas),
            "spend_per_day_usd": None if day is None else day / replicas,
        }
    )
    routing = routing.model_copy(update={"budget_usd": None if budget is None else budget / replicas})
    return serving, options.model_copy(update={"routing": routing})


def _taken(given: dict[str, str], names: Mapping[str, object]) -> dict[str, str]:
    return {name: given.pop(name) for name in names if name in given}


def _number(given: dict[str, str], name: str, default: int) -> int:
    written = given.pop(name, str(default))
    if not str(written).isdecimal() or int(written) < min(default, 1):
        raise ConfigError(_SOURCE, name, written, f"must be a whole number, at least {min(default, 1)}")
    return int(written)
