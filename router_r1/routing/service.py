"""The route service: asks candidates over HTTP, within their limits, and accounts for every token.

Invariants:

- a route comes back as a `protocol.Route`; what an endpoint does wrong makes it a failed one, never an exception;
- one client per endpoint and key in one service, and none shared between services;
- keys live in the clients only: no name, message, log record or repr of this module holds one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from router_r1.pool import Candidate, RoutingPool, raw_cost, read_api_key, spend_usd
from router_r1.protocol import Route
from router_r1.routing import faults
from router_r1.routing.faults import RouteError
from router_r1.routing.replies import Reply, read_reply
from router_r1.routing.retries import Pace, RetryPolicy

logger = logging.getLogger(__name__)

_NO_KEY = "none"
"""Sent where an endpoint takes no key: the client insists on one, and would else take OPENAI_API_KEY."""


@dataclass
class _Account:
    """The tries of one route so far, and the money that useless replies have cost."""

    tries: int = 0
    wasted_usd: float = 0.0


class RouteService:
    """Dispatches routes to the candidates of a pool; satisfies `rollout.policy.Dispatcher`.

    Limits (`max_concurrency`, `rpm`) hold per service: share one, or a handle to it, between the workers of a run. It
    belongs to the event loop it is first used in. Keys are read from the environment at the first route to their
    endpoint. Close it with `aclose`, or use it as an asynchronous context manager.
    """

    def __init__(self, pool: RoutingPool, *, policy: RetryPolicy | None = None) -> None:
        self._pool = pool
        self._policy = policy or RetryPolicy()
        self._slots = {c.name: asyncio.Semaphore(c.max_concurrency) for c in pool.candidates}
        self._paces = {c.name: Pace(c.rpm) for c in pool.candidates}
        self._clients: dict[
            tuple[str, str | None], AsyncOpenAI
        ] = {}  # (base_url, api_key_env), since a key may not show
        self._closed = False

    def __repr__(self) -> str:
        return f"RouteService(pool={self._pool.name!r}, candidates={len(self._pool.candidates)})"

    async def __aenter__(self) -> RouteService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Routes still in flight fail; later ones raise RuntimeError."""
        self._closed = True
        clients = list(self._clients.values())
        self._clients.clear()
        for client in clients:
            await client.close()

    async def route(self, candidate: str, query: str) -> Route:
        """Ask a candidate.

        `raw_cost` and the token counts are those of the reply that was kept, so both are 0 for a failed route;
        `spend_usd` also holds what the endpoint charged for replies without text, since that money is gone too. Where
        the endpoint counts no tokens they are estimated as characters / 4, rounded up, and `usage_estimated` is set.

        Args:
            candidate: its name in the pool.
            query: the sub-query, sent whole as the only message.

        Raises:
            KeyError: no such candidate; resolve the written name first.
            ConfigError: the variable with the candidate's key is unset (`pool.check_api_keys` finds that before a run).
            RuntimeError: the service is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")
        started = time.monotonic()
        route = await self._ask(self._pool.candidate(candidate), query)
        return replace(route, latency_s=time.monotonic() - started)

    async def _ask(self, candidate: Candidate, query: str) -> Route:
        """One route with its tries. The slot is held over back-offs, so that a troubled endpoint gets less traffic."""
        account = _Account()
        client = self._client(candidate)
        async with self._slots[candidate.name]:
            await self._paces[candidate.name].wait()
            total_s = max(self._policy.total_s, candidate.timeout_s)
            deadline = time.monotonic() + total_s
            try:
                reply: Reply = await self._policy.retrying(total_s)(
                    self._try, client, candidate, query, deadline, account
                )
            except RouteError as fault:
                logger.warning("route failed after %d tries: %s", account.tries, fault)
                return Route(
                    candidate=candidate.name,
                    query=query,
                    reply="",
                    failed=True,
                    error=str(fault),
                    spend_usd=account.wasted_usd,
                    attempts=account.tries,
                )
        return Route(
            candidate=candidate.name,
            query=query,
            reply=reply.text,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            usage_estimated=reply.usage_estimated,
            raw_cost=raw_cost(candidate, reply.completion_tokens),
            spend_usd=account.wasted_usd + spend_usd(candidate, reply.prompt_tokens, reply.completion_tokens),
            attempts=account.tries,
        )

    async def _try(
        self, client: AsyncOpenAI, candidate: Candidate, query: str, deadline: float, account: _Account
    ) -> Reply:
        """One request. Raises `RouteError` for everything an endpoint can do wrong."""
        if account.tries:
            await self._paces[candidate.name].wait()
        account.tries += 1
        try:
            reply = read_reply(await self._request(client, candidate, query, deadline), candidate, query)
        except RouteError as fault:
            account.wasted_usd += spend_usd(candidate, *fault.usage)
            logger.debug("try %d: %s", account.tries, fault)
            raise
        logger.debug("%s replied at try %d", candidate.name, account.tries)
        return reply

    async def _request(self, client: AsyncOpenAI, candidate: Candidate, query: str, deadline: float) -> str:
        """The body of a 200 response."""
        within_s = max(0.0, min(candidate.timeout_s, deadline - time.monotonic()))
        sendable = query.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be sent
        try:
            # Not the client's own timeout: that is one per read, which a trickle of bytes outlives.
            async with asyncio.timeout(within_s):
                response = await client.chat.completions.with_raw_response.create(
                    model=candidate.model,
                    messages=[{"role": "user", "content": sendable}],
                    temperature=candidate.temperature,
                    max_tokens=candidate.max_tokens,
                )
                return response.http_response.text
        except TimeoutError:
            raise faults.unanswered(candidate, within_s) from None
        except openai.APIConnectionError as error:
            raise faults.unconnected(candidate, error) from None
        except openai.APIStatusError as error:
            raise faults.refused(candidate, error, client.api_key if candidate.api_key_env else None) from None

    def _client(self, candidate: Candidate) -> AsyncOpenAI:
        address = (candidate.base_url, candidate.api_key_env)
        if address not in self._clients:
            self._clients[address] = AsyncOpenAI(
                base_url=candidate.base_url,
                api_key=read_api_key(candidate, source=self._pool.source or self._pool.name) or _NO_KEY,
                timeout=None,
                max_retries=0,
                # A proxy of the environment cannot reach this machine's own loopback.
                http_client=DefaultAsyncHttpxClient(trust_env=not _is_loopback(candidate.base_url)),
            )
        return self._clients[address]


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
