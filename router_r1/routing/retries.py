"""When to try again, and how long to wait before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from router_r1.routing.config import RetryPolicy
from router_r1.routing.failures import RouteError


def retrying(
    policy: RetryPolicy,
    deadline: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncRetrying:
    """Retries of transient faults; the last fault is raised.

    Args:
        deadline: `time.monotonic()` at which the last attempt must have ended; a wait that outlasts it is not begun.
        sleep: waits so many seconds between two attempts, or for less.
    """

    def pause(state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome else None
        assert isinstance(fault, RouteError)  # nothing else is tried again
        jitter = wait_random_exponential(multiplier=policy.backoff_s, max=policy.backoff_max_s)
        return 0.0 if fault.elsewhere else min(fault.retry_after_s, policy.retry_after_max_s) + jitter(state)

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= policy.max_attempts or time.monotonic() + state.upcoming_sleep >= deadline()

    return AsyncRetrying(stop=is_over, wait=pause, retry=_is_transient, sleep=sleep, reraise=True)


async def _is_transient(state: RetryCallState) -> bool:
    fault = state.outcome.exception() if state.outcome and state.outcome.failed else None
    return isinstance(fault, RouteError) and fault.transient
