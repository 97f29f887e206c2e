"""Where a candidate is served: connections, the limits of each place, and the choice between several."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from router_r1.pool import Candidate, Endpoint, EndpointLimits, Message, RoutingPool, read_api_key
from router_r1.routing import failures
from router_r1.routing.adapters import ProviderAdapter, load_adapter
from router_r1.routing.breaker import Breaker
from router_r1.routing.config import RoutingConfig
from router_r1.routing.failures import RouteError
from router_r1.routing.limits import AdaptiveGate, Quota
from router_r1.routing.requests import Request, build_request

_LARGEST_REPLY = 16 * 1024 * 1024
"""Bytes; what goes on for longer is no reply."""


class _Connector(aiohttp.TCPConnector):
    """Never gives out a connection over which something has come that nobody asked for.

    Such an answer would be read as that to the next request. aiohttp looks for it when a connection is put back, not
    when it is taken again.
    """

    async def _get(self, *arguments: Any) -> Any:
        connection: Any = await super()._get(*arguments)
        while connection is not None and connection.protocol.should_close:
            connection.close()
            connection = await super()._get(*arguments)
        return connection


class Connection:
    """The connections to one endpoint under one key. The key is held here and shown nowhere."""

    def __init__(self, endpoint: Endpoint, key: str | None) -> None:
        self._key = key
        self._session = aiohttp.ClientSession(
            # No limit: the gates limit, and a second queue would hide who waits. Idle connections are given up before
            # the server does it (uvicorn, and so vLLM, after 5 s): a request sent into a closed one costs an attempt.
            connector=_Connector(limit=0, keepalive_timeout=4),
            headers={"content-type": "application/json", "user-agent": "router-r1"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # Not aiohttp's `trust_env`, which would also send a password of ~/.netrc to the candidate.
        self._proxy = _proxy_of_environment(endpoint.base_url)

    async def aclose(self) -> None:
        await self._session.close()

    def request(
        self, adapter: ProviderAdapter, candidate: Candidate, endpoint: Endpoint, messages: Sequence[Message]
    ) -> Request:
        """A request with this connection's key.

        Raises:
            RouteError: the adapter cannot word it.
        """
        return build_request(adapter, candidate, endpoint, messages, self._key)

    async def post(self, request: Request, within_s: float) -> bytes:
        """The body of a 200 response.

        Raises:
            RouteError: for everything that an endpoint can do wrong before that.
        """
        candidate, endpoint = request.candidate, request.endpoint
        try:
            # One limit on the whole of it: a limit per read is outlived by a trickle of bytes.
            async with (
                asyncio.timeout(within_s),
                self._session.post(
                    request.url, data=request.content, headers=request.headers, allow_redirects=False, proxy=self._proxy
                ) as response,
            ):
                content = await _read_all(response, candidate, endpoint)
        except RouteError:
            raise
        except TimeoutError:
            raise failures.unanswered(candidate, endpoint, within_s) from None
        except Exception as error:  # the client's own errors, and what its parsers raise at an odd header
            raise failures.unconnected(candidate, endpoint, error) from None
        if response.status == 200:
            return content
        raise failures.refused(
            candidate,
            endpoint,
            response.status,
            body=content.decode("utf-8", "replace"),
            retry_after=response.headers.get("retry-after"),
            secrets=request.secrets,
        )


async def _read_all(response: aiohttp.ClientResponse, candidate: Candidate, endpoint: Endpoint) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_REPLY:
            response.close()
            raise failures.malformed(candidate, endpoint, f"longer than {_LARGEST_REPLY} bytes")
    return b"".join(chunks)


def _proxy_of_environment(url: str) -> str | None:
    """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say of this address; None for a direct connection."""
    address = urlsplit(url)
    host = address.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):  # no proxy can reach this machine's own loopback
        return None
    return getproxies().get(address.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class EndpointClient:
    """One candidate at one endpoint: its adaptive limit, its health, and the quota that the endpoint's users share."""

    def __init__(
        self,
        candidate: Candidate,
        endpoint: Endpoint,
        adapter: ProviderAdapter,
        quota: Quota,
        config: RoutingConfig,
    ) -> None:
        self.candidate, self.endpoint, self.adapter, self.quota = candidate, endpoint, adapter, quota
        self.host = failures.endpoint_host(endpoint)
        self.gate = AdaptiveGate(candidate.max_concurrency)
        self.breaker = Breaker(config.breaker, quota_s=config.retries.total_s)
        self.credit = 0.0  # of the smooth weighted round robin
        self.last_fault = ""
        self._paused_until = 0.0

    @property
    def may_pass(self) -> bool:
        """Whether the breaker lets a request pass; a trial does not come before the time that the endpoint named."""
        return self.breaker.may_pass and (self.breaker.is_closed or not self.pause_left_s)

    @property
    def pause_left_s(self) -> float:
        """Seconds until the endpoint wants to be asked again; 0 if it may be asked now."""
        return max(0.0, self._paused_until - time.monotonic())

    def throttled(self, retry_after_s: float) -> None:
        """The endpoint answered 429. When it hardly says anything else, nobody asks before it wants to be asked again.

        As long as it mostly replies, only the request that was refused waits: a few 429s are not worth a pause for all.
        """
        if self.gate.record(refused=True):
            self._paused_until = max(self._paused_until, time.monotonic() + retry_after_s)


class EndpointClients:
    """All clients of a pool. Connections are opened at the first request to them, in the loop that sends it.

    Raises:
        ConfigError: a candidate's adapter cannot be used.
    """

    def __init__(self, pool: RoutingPool, config: RoutingConfig) -> None:
        self._source = pool.source or pool.name
        limits = {entry.base_url: entry for entry in pool.endpoint_limits}
        quotas: dict[str, Quota] = {}
        self._of: dict[str, tuple[EndpointClient, ...]] = {}
        for index, candidate in enumerate(pool.candidates):
            adapter = load_adapter(self._source, f"candidates[{index}].adapter", candidate.adapter)
            for endpoint in candidate.all_endpoints:
                quotas.setdefault(endpoint.base_url, _quota(limits.get(endpoint.base_url)))
            self._of[candidate.name] = tuple(
                EndpointClient(candidate, endpoint, adapter, quotas[endpoint.base_url], config)
                for endpoint in candidate.all_endpoints
            )
        # By (base_url, api_key_env), since a key may not show.
        self._connections: dict[tuple[str, str | None], Connection] = {}
        self._closed = False

    def of(self, candidate: Candidate) -> tuple[EndpointClient, ...]:
        return self._of[candidate.name]

    def connection(self, endpoint: Endpoint) -> Connection:
        """The endpoint's connections.

        Raises:
            ConfigError: the variable with its key is unset.
            RouteError: the service was closed.
        """
        if self._closed:
            raise failures.closed()
        address = (endpoint.base_url, endpoint.api_key_env)
        if address not in self._connections:
            self._connections[address] = Connection(endpoint, read_api_key(endpoint, source=self._source))
        return self._connections[address]

    async def aclose(self) -> None:
        """Close all connections and stop the breakers' timers."""
        self._closed = True
        for clients in self._of.values():
            for client in clients:
                client.breaker.stop()
        connections = list(self._connections.values())
        self._connections.clear()
        for connection in connections:
            await connection.aclose()


def _quota(limits: EndpointLimits | None) -> Quota:
    return Quota(limits.max_concurrency, limits.rpm, limits.tpm) if limits else Quota(None, None, None)


def choose(clients: Iterable[EndpointClient]) -> EndpointClient:
    """The next of several by weight: smooth weighted round robin, as nginx does it, which spreads turns evenly."""
    candidates = list(clients)
    if len(candidates) == 1:
        return candidates[0]
    total = sum(client.endpoint.weight for client in candidates)
    for client in candidates:
        client.credit += client.endpoint.weight
    chosen = max(candidates, key=lambda client: client.credit)
    chosen.credit -= total
    return chosen
