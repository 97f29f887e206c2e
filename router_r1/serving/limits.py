"""What one key, and all together, may ask of the server.

Invariants:

- at most `max_concurrent` trajectories are in flight, and at most `max_waiting` requests wait, first come first served;
- in any 60 seconds at most `requests_per_minute` requests of a key are let in; those that are refused do not count;
- no route is dispatched for a key whose spend of the day has reached its limit. Routes that were in flight by then are
  paid for, so a day may cost more by what these do. The count begins anew with the process.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus

from router_r1.errors import BudgetSpent
from router_r1.serving.api_errors import ApiError

_MINUTE_S = 60.0
_BUSY_RETRY_S = 1.0  # how long a place takes to come free is not known


class Places:
    """Places for trajectories, and a bounded queue for them."""

    def __init__(self, max_concurrent: int, max_waiting: int) -> None:
        self._places = asyncio.Semaphore(max_concurrent)
        self._max_concurrent, self._max_waiting = max_concurrent, max_waiting
        self.held = 0
        self.waiting = 0

    def check(self) -> None:
        """See that a request would be let in, if it came now.

        Raises:
            ApiError: 429; all places are held, and the queue is full.
        """
        if self._places.locked() and self.waiting >= self._max_waiting:
            message = f"{self.held} requests are worked on, and {self.waiting} wait: try again later"
            raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, message, code="server_busy", retry_after_s=_BUSY_RETRY_S)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place, for as long as the block takes.

        Raises:
            ApiError: as `check`.
        """
        self.check()
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            self._places.release()


class RequestRate:
    """Requests per minute of each key, over a sliding window.

    Args:
        limit: None for none.
        clock: seconds, never going back.
    """

    def __init__(self, limit: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._seen: dict[str, deque[float]] = defaultdict(deque)

    def admit(self, key: str) -> None:
        """Count a request in.

        Raises:
            ApiError: 429; it is one too many, and is not counted.
        """
        if self._limit is None:
            return
        now, seen = self._clock(), self._seen[key]
        while seen and seen[0] <= now - _MINUTE_S:
            seen.popleft()
        if len(seen) >= self._limit:
            message = f"this key may send {self._limit} requests per minute"
            wait_s = seen[0] + _MINUTE_S - now
            raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded", retry_after_s=wait_s)
        seen.append(now)


class KeyBudgetSpent(BudgetSpent):
    """A key has spent what it may on this day."""


class DailySpend:
    """What each key has spent on routes since midnight, UTC.

    Args:
        limit_usd: of a key; None for none.
        now: the time, in UTC.
    """

    def __init__(self, limit_usd: float | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._limit = None if limit_usd is None else Decimal(repr(limit_usd))
        self._now = now
        self._day = now().date()
        self._spent: dict[str, Decimal] = defaultdict(Decimal)

    def spent_usd(self, key: str) -> Decimal:
        """Of today."""
        if (today := self._now().date()) != self._day:
            self._day = today
            self._spent.clear()
        return self._spent[key]

    def book(self, key: str, usd: float) -> None:
        """A route has ended, and cost this much."""
        self._spent[key] = self.spent_usd(key) + Decimal(repr(usd))

    def check(self, key: str) -> None:
        """See that the key may spend more.

        Raises:
            KeyBudgetSpent: it may not, until tomorrow.
        """
        if self._limit is not None and (spent := self.spent_usd(key)) >= self._limit:
            raise KeyBudgetSpent(f"this key has spent {spent:f} of {self._limit:f} USD today (UTC)")


def payment_required(fault: BudgetSpent) -> ApiError:
    """What the client is told of a spent budget: of its own in figures, of the server's that it is spent."""
    if isinstance(fault, KeyBudgetSpent):
        return ApiError(HTTPStatus.PAYMENT_REQUIRED, str(fault), code="key_budget_spent")
    return ApiError(HTTPStatus.PAYMENT_REQUIRED, "the server's budget for routes is spent", code="budget_spent")
