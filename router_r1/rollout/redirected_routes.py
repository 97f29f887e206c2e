"""Routes that go to whom a router chooses: the seam at which somebody else than the policy chooses the candidate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from router_r1.protocol import Route
from router_r1.rollout.policy import Dispatcher


@dataclass(frozen=True)
class Choice:
    """Whom to ask."""

    candidate: str
    """The pool's own name."""
    asked: Route | None = None
    """What it took to choose, if a candidate was asked whom to ask; paid for with the route that follows."""


class RedirectedRoutes:
    """A dispatcher that asks whom a router chooses for each sub-query, whomever the search names.

    Args:
        routes: asks the candidates.
        choose: sub-query -> whom to ask.
    """

    def __init__(self, routes: Dispatcher, choose: Callable[[str], Awaitable[Choice]]) -> None:
        self._routes, self._choose = routes, choose

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        """As `Dispatcher.route`; the route has the name of the candidate that was asked."""
        choice = await self._choose(query)
        route = await self._routes.route(choice.candidate, query, trajectory_id=trajectory_id)
        return route if choice.asked is None else _with_price_of(route, choice.asked)


def _with_price_of(route: Route, asked: Route) -> Route:
    """The route, with what another one took and cost on top."""
    return replace(
        route,
        prompt_tokens=route.prompt_tokens + asked.prompt_tokens,
        completion_tokens=route.completion_tokens + asked.completion_tokens,
        usage_estimated=route.usage_estimated or asked.usage_estimated,
        raw_cost=route.raw_cost + asked.raw_cost,
        spend_usd=route.spend_usd + asked.spend_usd,
        latency_s=route.latency_s + asked.latency_s,
        attempts=route.attempts + asked.attempts,
        cached=route.cached and asked.cached,
    )
