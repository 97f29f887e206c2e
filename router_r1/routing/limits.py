"""How many requests may be in flight, and how fast they may follow one another.

Invariants, whatever completes, fails or is cancelled, in whatever order:

- a gate never has more holders than its limit allowed when they came in, and gives every permit back;
- whoever waits is let in in the order of arrival, except that a retry, which has waited before, goes first. A
  trajectory has one route in flight at most, so the order of arrival is fair between trajectories.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass


class Gate:
    """A counting semaphore, first come first served, whose limit may change while it is in use."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def held(self) -> int:
        """Permits that are out."""
        return self._held

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no permit is out and nobody waits for one."""
        return not (self._held or self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._held >= self._limit or bool(self._waiting)

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value
        self._wake()

    async def acquire(self, *, first: bool = False) -> None:
        """Take a permit; `first` goes before all who wait."""
        if self._held < self._limit and not self._waiting:
            self._held += 1
            return
        turn = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(turn)
        else:
            self._waiting.append(turn)
        self._wake()  # all who wait may be cancelled ones
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # passed over by `_wake`
                    self._waiting.remove(turn)
            else:
                self.release()  # the permit was handed over in the same moment
            raise

    def release(self) -> None:
        self._held -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._held < self._limit:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._held += 1
                turn.set_result(None)


class AdaptiveGate(Gate):
    """A gate that halves its limit when an endpoint keeps answering 429, and opens again when it stops.

    Counted over windows of as many answers as the limit (at least 20). A few 429s are no overload: each of those
    requests waits by itself. Above `TOLERATED` of a window the limit is halved; a window without that raises it by a
    quarter and one, up to the configured limit. A multiplicative decrease, as in TCP, but on the share of refusals
    rather than on any: with 5 % of refusals at random, AIMD on each would settle at about five requests in flight.
    """

    TOLERATED = 0.15
    SMALLEST_WINDOW = 20

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._most = most
        self._answers = self._refusals = 0

    def record(self, *, refused: bool) -> bool:
        """Count an answer, 429 or not; returns whether nobody should ask for now, because most were refused."""
        self._answers += 1
        self._refusals += refused
        window = max(self.SMALLEST_WINDOW, self.limit)
        if self._refusals > self.TOLERATED * window:
            most_refused = self._refusals > self._answers / 2
            self._answers = self._refusals = 0
            self.limit = max(1, self.limit // 2)
            return most_refused
        if self._answers >= window:
            self._answers = self._refusals = 0
            self.limit = min(self._most, self.limit + self.limit // 4 + 1)
        return False


@dataclass(frozen=True)
class Clock:
    """What time it is, in seconds, and how to let some pass."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pace:
    """Lets amounts (requests, tokens) pass one after another, evenly spaced, so that no minute sees more than a limit.

    The amount that passes first is not waited for: the limit plus one amount may pass within a minute. Spacing instead
    of a bucket: a full bucket lets through twice the limit within its first minute.
    """

    def __init__(self, per_minute: float | None, clock: Clock = Clock()) -> None:
        self._clock = clock
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._queue = asyncio.Lock()  # first come, first served

    async def wait(self, amount: float = 1.0) -> None:
        """Return when `amount` may pass."""
        if not self._gap_s:
            return
        async with self._queue:
            while (delay := self._next - self._clock.now()) > 0:
                await self._clock.sleep(delay)
            self._next = max(self._clock.now(), self._next) + amount * self._gap_s

    def settle(self, difference: float) -> None:
        """An amount that has passed turned out larger (or, below 0, smaller) than it was taken for."""
        self._next += difference * self._gap_s


class Quota:
    """The limits of one candidate or one endpoint: requests in flight, requests and tokens per minute."""

    def __init__(self, max_concurrency: int | None, rpm: float | None, tpm: float | None) -> None:
        self.gate = Gate(max_concurrency) if max_concurrency else None
        self._requests, self._tokens = Pace(rpm), Pace(tpm)

    async def admit(self, tokens: float, *, first: bool) -> Admission:
        """Return when a request of about `tokens` tokens may be sent; its permit is held until it is released."""
        if self.gate:
            await self.gate.acquire(first=first)
        admission = Admission(self.gate)
        try:
            for pace, amount in ((self._requests, 1.0), (self._tokens, tokens)):
                await pace.wait(amount)
                admission.paid.append((pace, amount))
        except BaseException:
            admission.release()
            raise
        return admission

    @property
    def is_idle(self) -> bool:
        """Whether nobody is admitted and nobody waits for it."""
        return self.gate is None or self.gate.is_idle

    def settle(self, difference: float) -> None:
        """The tokens of an admitted request turned out `difference` more than was said."""
        self._tokens.settle(difference)


class Admission:
    """Leave to send one request.

    Attributes:
        paid: what it took of a minute.
        is_used: to be set when the request is sent; else that is given back.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate
        self.paid: list[tuple[Pace, float]] = []
        self.is_used = False

    def release(self) -> None:
        if not self.is_used:
            for pace, amount in self.paid:
                pace.settle(-amount)
        if self._gate:
            self._gate.release()
