"""One small request to every candidate before a run starts: a wrong key or model id shows in seconds, not in a step.

The same request tells later whether a refusal was of the query, or of the key or the model. None of them is booked.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, RoutingPool, check_api_keys
from router_r1.routing.breaker import Outcome
from router_r1.routing.config import RetryPolicy, RoutingConfig
from router_r1.routing.endpoint_client import EndpointClient, EndpointClients
from router_r1.routing.failures import RouteError
from router_r1.routing.retries import retrying

_MAX_TOKENS = 8
_QUERY = "Say yes."


async def preflight(pool: RoutingPool, *, timeout_s: float = 20.0) -> None:
    """Ask every candidate at each of its endpoints for a few tokens.

    Any status 200 counts, whatever it holds, and so does 429: the endpoint works, knows the key and the model. The
    first permanent fault ends the preflight; transient ones are tried again within `timeout_s` seconds.

    Raises:
        ConfigError: a candidate that cannot be asked, and what to mend.
    """
    check_api_keys(pool)
    clients = EndpointClients(pool, RoutingConfig())
    deadline = time.monotonic() + timeout_s
    checks = [
        asyncio.create_task(_check(clients, client, f"candidates[{index}]", deadline))
        for index, candidate in enumerate(pool.candidates)
        for client in clients.of(candidate)
    ]
    failed: list[_Failed] = []
    try:
        for check in asyncio.as_completed(checks):
            if fault := await check:
                failed.append(fault)
            if fault and not fault.transient:
                break
    finally:
        for unfinished in checks:
            unfinished.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        await clients.aclose()
    if failed:
        worst = min(failed, key=lambda fault: fault.transient)
        raise ConfigError(
            pool.source or pool.name, worst.key, None, f"{worst.text} (--skip-preflight starts without asking)"
        )


@dataclass(frozen=True)
class _Failed:
    key: str  # where the candidate stands in the pool file
    text: str
    transient: bool


async def _check(clients: EndpointClients, client: EndpointClient, key: str, deadline: float) -> _Failed | None:
    """None if the candidate can be asked there."""
    fault = await _ask_a_word(clients, client, deadline)
    return _Failed(key, str(fault), fault.transient) if fault else None


async def is_refused(clients: EndpointClients, candidate: Candidate, *, timeout_s: float = 20.0) -> bool:
    """Whether the key or the model is refused everywhere, whatever is asked."""
    deadline = time.monotonic() + timeout_s
    faults = await asyncio.gather(*(_ask_a_word(clients, client, deadline) for client in clients.of(candidate)))
    return all(fault is not None and fault.outcome is Outcome.REFUSED for fault in faults)


async def _ask_a_word(clients: EndpointClients, client: EndpointClient, deadline: float) -> RouteError | None:
    """What keeps the candidate from being asked there; None if nothing does."""
    few = min(_MAX_TOKENS, client.candidate.max_tokens)
    candidate, endpoint = client.candidate.model_copy(update={"max_tokens": few}), client.endpoint

    async def ask() -> None:
        connection = clients.connection(endpoint)
        request = connection.request(client.adapter, candidate, endpoint, candidate.messages(_QUERY))
        try:
            await connection.post(request, max(0.0, deadline - time.monotonic()))
        except RouteError as fault:
            # Another attempt at a 429, cut short by the deadline, could only hide it.
            if fault.outcome is not Outcome.THROTTLED:
                raise

    try:
        await retrying(RetryPolicy(max_attempts=4, retry_after_max_s=2.0), lambda: deadline)(ask)
    except RouteError as fault:
        return fault
    return None
