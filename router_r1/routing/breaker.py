"""Circuit breaker: an endpoint that keeps failing is left alone for a while, and tried again with one request."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

from router_r1.routing.config import BreakerPolicy


class _State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """Watches one candidate at one endpoint. Belongs to one event loop."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._state = _State.CLOSED
        self._outcomes: deque[bool] = deque(maxlen=policy.window)
        self._cooldown_s = policy.cooldown_s
        self._timer: asyncio.TimerHandle | None = None
        self._trial_in_flight = False
        self._changed = asyncio.Event()
        self._outage_began = 0.0

    @property
    def is_closed(self) -> bool:
        return self._state is _State.CLOSED

    @property
    def may_pass(self) -> bool:
        """Whether a request may be sent now; one that is must be announced with `begin`."""
        return self.is_closed or (self._state is _State.HALF_OPEN and not self._trial_in_flight)

    @property
    def patience_left_s(self) -> float:
        """How much longer a route should wait for this outage to end, in seconds; 0 or less: not at all."""
        return self._outage_began + self._policy.patience_s - asyncio.get_running_loop().time()

    async def changed(self, within_s: float) -> None:
        """Return at the next change of state, or after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def begin(self) -> bool:
        """A request is sent; returns whether it is the trial that decides."""
        self._trial_in_flight = self._state is _State.HALF_OPEN
        return self._trial_in_flight

    def record(self, *, ok: bool, trial: bool, is_certain: bool = False) -> None:
        """A request has ended; `is_certain` if its failure alone shows that nobody is there."""
        if trial:
            self._trial_in_flight = False
            if ok:
                self._close()
            else:
                self._open(min(2 * self._cooldown_s, self._policy.cooldown_max_s))
            return
        if not self.is_closed:
            return  # sent before the breaker opened: it says nothing new
        self._outcomes.append(ok)
        failed = self._outcomes.count(False)
        enough = len(self._outcomes) >= self._policy.least
        if is_certain or (enough and failed > self._policy.share * len(self._outcomes)):
            self._outage_began = asyncio.get_running_loop().time()
            self._open(self._policy.cooldown_s)

    def abandon(self, *, trial: bool) -> None:
        """A request was cancelled: it says nothing, but another may take its place as the trial."""
        if trial:
            self._trial_in_flight = False
            self._announce()

    def stop(self) -> None:
        """Cancel the timer; the breaker is not used any more."""
        if self._timer:
            self._timer.cancel()

    def _open(self, cooldown_s: float) -> None:
        self._state, self._cooldown_s = _State.OPEN, cooldown_s
        self._timer = asyncio.get_running_loop().call_later(cooldown_s, self._half_open)
        self._announce()

    def _half_open(self) -> None:
        self._state = _State.HALF_OPEN
        self._announce()

    def _close(self) -> None:
        self._state, self._cooldown_s = _State.CLOSED, self._policy.cooldown_s
        self._outcomes.clear()
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
