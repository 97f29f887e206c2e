"""One small request to every candidate before a run starts: a wrong key or model id shows in seconds, not in a step."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, check_api_keys
from router_r1.routing.config import BreakerPolicy, RetryPolicy
from router_r1.routing.faults import RouteError
from router_r1.routing.retries import retrying
from router_r1.routing.upstreams import Upstream, Upstreams

_MAX_TOKENS = 8
_QUERY = "Say yes."


async def probe(pool: RoutingPool, *, timeout_s: float = 20.0) -> None:
    """Ask every candidate at every endpoint of its for a few tokens.

    Any status 200 counts, whatever it holds, and so does 429: the endpoint works, knows the key and the model. The
    first permanent fault ends the probe; passing ones are tried again within `timeout_s` seconds.

    Raises:
        ConfigError: a candidate that cannot be asked, and what to mend.
    """
    check_api_keys(pool)
    upstreams = Upstreams(pool, BreakerPolicy())
    deadline = time.monotonic() + timeout_s
    checks = [
        asyncio.create_task(_check(upstreams, upstream, f"candidates[{index}]", deadline))
        for index, candidate in enumerate(pool.candidates)
        for upstream in upstreams.of(candidate)
    ]
    failed: list[_Failed] = []
    try:
        for check in asyncio.as_completed(checks):
            if fault := await check:
                failed.append(fault)
            if fault and not fault.passing:
                break
    finally:
        for unfinished in checks:
            unfinished.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        await upstreams.aclose()
    if failed:
        worst = min(failed, key=lambda fault: fault.passing)
        raise ConfigError(
            pool.source or pool.name, worst.key, None, f"{worst.text} (--skip-probe starts without asking)"
        )


@dataclass(frozen=True)
class _Failed:
    key: str  # where the candidate stands in the pool file
    text: str
    passing: bool


async def _check(upstreams: Upstreams, upstream: Upstream, key: str, deadline: float) -> _Failed | None:
    """None if the candidate can be asked there."""
    few = min(_MAX_TOKENS, upstream.candidate.max_tokens)
    candidate, target = upstream.candidate.model_copy(update={"max_tokens": few}), upstream.target
    body = Upstream(candidate, target, upstream.quota, BreakerPolicy()).body(_QUERY)

    async def ask() -> None:
        await upstreams.connection(target).post(candidate, target, body, max(0.0, deadline - time.monotonic()))

    try:
        await retrying(RetryPolicy(max_tries=4, retry_after_max_s=2.0), lambda: deadline)(ask)
    except RouteError as fault:
        return None if fault.is_throttle else _Failed(key, str(fault), fault.passing)
    return None
