"""The route service: asks candidates over HTTP, within their limits, and accounts for every token.

Invariants:

- a route comes back as a `protocol.Route`; what an endpoint does wrong makes it a failed one, never an exception;
- trajectories share nothing but limits: none waits for another's reply;
- one set of connections per endpoint and key in one service, and none shared between services;
- keys live in the connections and their requests only: no name, message, log record, trace, metric or repr holds one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace

from router_r1.errors import CandidateRefused
from router_r1.pool import Candidate, RoutingPool, raw_cost, spend
from router_r1.protocol import Route
from router_r1.routing.breaker import Outcome
from router_r1.routing.cache import Entry, ReplyCache, cache_key
from router_r1.routing.candidate_client import Call, CandidateClient
from router_r1.routing.config import RoutingConfig
from router_r1.routing.endpoint_client import EndpointClients
from router_r1.routing.failures import RouteError
from router_r1.routing.ledger import Ledger
from router_r1.routing.metrics import RouteMetrics
from router_r1.routing.preflight import is_refused
from router_r1.routing.replies import Reply
from router_r1.routing.requests import request_identity
from router_r1.routing.single_flight import SingleFlight
from router_r1.routing.traces import TraceWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """How a route ended: finished, cached, shared, failed or cancelled."""

    route: Route
    status: str
    host: str = ""  # of the endpoint asked last; "" if none was


@dataclass(frozen=True)
class _Books:
    """What is written down of all routes; a service may leave it to another."""

    ledger: Ledger
    metrics: RouteMetrics
    traces: TraceWriter | None
    cache: ReplyCache | None


def _open_books(config: RoutingConfig) -> _Books:
    path, mode = config.trace_file, config.cache
    return _Books(
        ledger=Ledger((), config.budget_usd),
        metrics=RouteMetrics(config.metrics_port),
        traces=TraceWriter(path, max_mb=config.trace_max_mb, texts=config.trace_texts) if path else None,
        cache=ReplyCache(config.cache_file, reads="read" in mode, writes="write" in mode) if mode != "off" else None,
    )


class RouteService:
    """Dispatches routes to the candidates of a pool; satisfies `rollout.policy.Dispatcher`.

    Limits hold per service: share one, or a handle to it, between the workers of a run. It belongs to the event loop it
    is first used in. Keys are read from the environment at the first route to their endpoint. Close it with `aclose`,
    or use it as an asynchronous context manager.

    Args:
        stop_when_refused: a key or a model that is refused for good raises `CandidateRefused`; else it fails routes.
        predecessor: an open service whose books go on here: ledger, metrics, cache and trace. It closes them, so it is
            to be closed after this one. Limits and breakers are each service's own.

    Raises:
        ConfigError: a candidate's adapter cannot be used.

    Attributes:
        ledger: what was asked, how it ended and what it cost, so far.
        metrics: the same for Prometheus.
    """

    def __init__(
        self,
        pool: RoutingPool,
        *,
        config: RoutingConfig | None = None,
        stop_when_refused: bool = False,
        predecessor: RouteService | None = None,
    ) -> None:
        self._pool, self._config = pool, config or RoutingConfig()
        self._stop_when_refused = stop_when_refused
        self._endpoints = EndpointClients(pool, self._config)  # first: it may raise, and holds nothing open yet
        self._owns_books = predecessor is None
        self._books: _Books = _open_books(self._config) if predecessor is None else predecessor._books
        self.ledger: Ledger = self._books.ledger
        self.ledger.open_accounts(pool.names)
        self.metrics: RouteMetrics = self._books.metrics
        self._cache, self._traces = self._books.cache, self._books.traces
        self._candidates = {
            candidate.name: CandidateClient(candidate, self._endpoints, self._config, self.ledger, self.metrics)
            for candidate in pool.candidates
        }
        self._flights: SingleFlight[_Outcome] = SingleFlight()
        self._closed = False

    def __repr__(self) -> str:
        return f"RouteService(pool={self._pool.name!r}, candidates={len(self._pool.candidates)})"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight: no permit is held or waited for, and no request is shared."""
        return not self._flights and all(client.is_idle for client in self._candidates.values())

    async def __aenter__(self) -> RouteService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Routes still in flight fail; later ones raise RuntimeError."""
        self._closed = True
        for client in self._candidates.values():
            client.close()
        await self._endpoints.aclose()
        if not self._owns_books:
            return
        self.metrics.close()
        if self._cache:
            await self._cache.aclose()
        if self._traces:
            self._traces.close()

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        """Ask a candidate.

        `raw_cost` and the token counts are those of the reply that was kept, so both are 0 for a failed route;
        `spend_usd` also holds what the endpoint charged for replies without text, since that money is gone too. A reply
        from disk, or one that an identical route in flight has paid for, is `cached`: its spend is 0, its raw cost is
        not. Where the endpoint counts no tokens they are estimated as characters / 4, rounded up, and `usage_estimated`
        is set.

        Args:
            candidate: its name in the pool.
            query: the sub-query, sent whole in the message that the pool file words.
            trajectory_id: whose route it is, for the trace.

        Raises:
            KeyError: no such candidate; resolve the written name first.
            ConfigError: the variable with the candidate's key is unset (`pool.check_api_keys` finds that before a run).
            BudgetSpent: the budget is used up, so nothing was sent.
            CandidateRefused: as `stop_when_refused` says.
            RuntimeError: the service is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")
        asked = self._pool.candidate(candidate)
        account = self.ledger.accounts[asked.name]
        started = time.monotonic()
        account.started += 1
        try:
            outcome = await self._answer(asked, query)
        except asyncio.CancelledError:
            account.cancelled += 1
            route = Route(asked.name, query, "", failed=True, error="cancelled", attempts=0)
            self._ended(_Outcome(route, "cancelled"), started, trajectory_id)
            raise
        except Exception:
            account.failed += 1
            raise
        if outcome.route.failed:
            account.failed += 1
        else:
            account.finished += 1
        return self._ended(outcome, started, trajectory_id)

    async def _answer(self, candidate: Candidate, query: str) -> _Outcome:
        """A reply from disk, from an identical route in flight, or from the candidate."""
        call = Call(query, candidate.messages(query))
        if self._cache is None or candidate.temperature > 0:
            return (await self._ask(candidate, call))[0]
        key = cache_key(request_identity(candidate, call.messages))
        answer = self._look_up_or_ask(self._cache, key, candidate, call)
        # Two candidates may be one model at two prices: each has a route of its own.
        outcome, is_first = await self._flights.join(f"{candidate.name} {key}", answer)
        if is_first and outcome.status != "cached":
            return outcome
        return self._free(outcome)

    def _free(self, outcome: _Outcome) -> _Outcome:
        """The same reply for nothing. Its raw cost stays: the policy learns as if it had been paid."""
        route, status = outcome.route, outcome.status
        account = self.ledger.accounts[route.candidate]
        if status == "cached":
            account.cached += 1
        else:
            account.shared += 1
            status = "shared" if status == "finished" else status
        account.saved_usd += spend(self._pool.candidate(route.candidate), route.prompt_tokens, route.completion_tokens)
        return _Outcome(replace(route, cached=True, spend_usd=0.0, attempts=0), status)

    async def _look_up_or_ask(self, cache: ReplyCache, key: str, candidate: Candidate, call: Call) -> _Outcome:
        kept = await cache.get(key)
        if kept is not None:
            return _Outcome(_answered(candidate, call, kept), "cached")
        outcome, reply = await self._ask(candidate, call)
        if reply is not None:
            endpoint = candidate.all_endpoints[0]
            cache.put(Entry(key, endpoint.base_url, endpoint.model or candidate.model, call.query, reply))
        return outcome

    async def _ask(self, candidate: Candidate, call: Call) -> tuple[_Outcome, Reply | None]:
        try:
            reply = await self._candidates[candidate.name].ask(call)
        except RouteError as fault:
            # Or it was for the query: some providers answer 403 to a text that they do not like.
            is_doubtful = self._stop_when_refused and fault.outcome is Outcome.REFUSED
            if is_doubtful and await is_refused(self._endpoints, candidate):
                raise CandidateRefused(str(fault)) from None
            logger.warning("route failed after %d attempts: %s", call.attempts, fault)
            return _Outcome(_failed(candidate, call, str(fault)), "failed", call.host), None
        return _Outcome(_answered(candidate, call, reply), "finished", call.host), reply

    def _ended(self, outcome: _Outcome, started: float, trajectory_id: str) -> Route:
        """The route with its latency, in trace and metrics."""
        route = replace(outcome.route, latency_s=time.monotonic() - started)
        self.metrics.route(route.candidate, outcome.status, route.latency_s)
        if self._traces and not self._closed:
            self._traces.write(route, status=outcome.status, trajectory_id=trajectory_id, endpoint=outcome.host)
        return route


def _failed(candidate: Candidate, call: Call, error: str) -> Route:
    return Route(
        candidate=candidate.name,
        query=call.query,
        reply="",
        failed=True,
        error=error,
        spend_usd=float(call.spend_usd),
        attempts=call.attempts,
    )


def _answered(candidate: Candidate, call: Call, reply: Reply) -> Route:
    return Route(
        candidate=candidate.name,
        query=call.query,
        reply=reply.text,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        usage_estimated=reply.usage_estimated,
        raw_cost=raw_cost(candidate, reply.completion_tokens),
        spend_usd=float(call.spend_usd),
        attempts=call.attempts,
    )
