"""When to try again, how long to wait before it, and how fast requests may follow one another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from router_r1.routing.faults import RouteError


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds on the tries of one route.

    Back-off before try n + 1 is exponential with full jitter, uniform in [0, min(backoff_max_s, backoff_s * 2^(n - 1))]
    (Brooker, "Exponential Backoff And Jitter", 2015), on top of what the endpoint asks for in Retry-After.
    """

    max_tries: int = 4
    total_s: float = 90.0
    """Longest time from the first request to the end of the last; a candidate's `timeout_s` is always granted once."""
    backoff_s: float = 0.5
    backoff_max_s: float = 8.0
    retry_after_max_s: float = 30.0
    """A longer Retry-After is cut to this."""

    def retrying(self, total_s: float) -> AsyncRetrying:
        """Retries of passing faults within `total_s` seconds; the last fault is raised."""
        jitter = wait_random_exponential(multiplier=self.backoff_s, max=self.backoff_max_s)

        def pause(state: RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            asked = fault.retry_after_s if isinstance(fault, RouteError) else 0.0
            return min(asked, self.retry_after_max_s) + jitter(state)

        return AsyncRetrying(
            stop=stop_after_attempt(self.max_tries) | stop_before_delay(total_s),
            wait=pause,
            retry=retry_if_exception(lambda fault: isinstance(fault, RouteError) and fault.passing),
            reraise=True,
        )


class Pace:
    """Lets requests pass one by one, evenly spaced, so that no minute sees more than `rpm` of them (plus one).

    Spacing instead of a bucket: a full bucket lets through twice the limit within its first minute.
    """

    def __init__(self, rpm: float | None) -> None:
        self._gap_s = 60.0 / rpm if rpm else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Return when this request may be sent; requests are let through in the order of their calls."""
        if not self._gap_s:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self._gap_s
        await asyncio.sleep(turn - now)
