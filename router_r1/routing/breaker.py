"""Circuit breaker: an endpoint that keeps failing is left alone for a while, and tried again with one request."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

from router_r1.routing.config import BreakerPolicy


class Outcome(Enum):
    """What a request says about the endpoint, not about its own query."""

    WORKS = "works"
    FAILED = "failed"
    """It may pass: waiting helps."""
    REFUSED = "refused"
    """A person must mend a key or a model: waiting does not help."""
    THROTTLED = "throttled"
    """It works, but is asked too much; waiting helps, unless it says nothing else."""


class _State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """Watches one candidate at one endpoint. Belongs to one event loop.

    Args:
        quota_s: what answers nothing but 429 for so many seconds has no quota left, and is out of order.
    """

    def __init__(self, policy: BreakerPolicy, *, quota_s: float) -> None:
        self._policy, self._quota_s = policy, quota_s
        self._state = _State.CLOSED
        self._outcomes: deque[Outcome] = deque(maxlen=policy.window)
        self._cooldown_s = policy.cooldown_s
        self._cooldown: asyncio.TimerHandle | None = None
        self._throttled: asyncio.TimerHandle | None = None  # runs since the first of nothing but 429s
        self._trial_in_flight = False
        self._changed = asyncio.Event()
        self._outage_began = 0.0
        self._cause = Outcome.FAILED  # of the outage

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
        if self._cause is not Outcome.FAILED:
            return 0.0
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

    def record(self, outcome: Outcome, *, trial: bool, is_certain: bool = False) -> None:
        """A request has ended; `is_certain` if its failure alone shows that nobody is there."""
        if trial:
            self._trial_in_flight = False
            self._decide(outcome)
        elif self.is_closed:  # else it was sent before the breaker opened, and says nothing new
            self._outcomes.append(outcome)
            self._watch_quota(outcome)
            bad = [kept for kept in self._outcomes if kept in (Outcome.FAILED, Outcome.REFUSED)]
            enough = len(self._outcomes) >= self._policy.least
            if is_certain or (enough and len(bad) > self._policy.share * len(self._outcomes)):
                self._begin_outage(outcome if outcome in bad else bad[-1])

    def abandon(self, *, trial: bool) -> None:
        """A request was cancelled: it says nothing, but another may take its place as the trial."""
        if trial:
            self._trial_in_flight = False
            self._announce()

    def stop(self) -> None:
        """Cancel the timers; the breaker is not used any more."""
        for timer in (self._cooldown, self._throttled):
            if timer:
                timer.cancel()

    def _decide(self, outcome: Outcome) -> None:
        """The trial has ended. A 429 shows that the endpoint works, unless 429 was all it had said before."""
        if outcome is Outcome.WORKS or (outcome is Outcome.THROTTLED and self._cause is not Outcome.THROTTLED):
            self._close()
            self._watch_quota(outcome)
            return
        self._cause = outcome
        self._open(min(2 * self._cooldown_s, self._policy.cooldown_max_s))

    def _watch_quota(self, outcome: Outcome) -> None:
        if outcome is not Outcome.THROTTLED:
            if self._throttled:
                self._throttled.cancel()
            self._throttled = None
        elif self._throttled is None:
            self._throttled = asyncio.get_running_loop().call_later(self._quota_s, self._begin_outage, outcome)

    def _begin_outage(self, cause: Outcome) -> None:
        self._watch_quota(Outcome.WORKS)  # a quota that is used up is known, or an outage that hides it
        self._cause = cause
        self._outage_began = asyncio.get_running_loop().time()
        self._open(self._policy.cooldown_s)

    def _open(self, cooldown_s: float) -> None:
        self._state, self._cooldown_s = _State.OPEN, cooldown_s
        self._cooldown = asyncio.get_running_loop().call_later(cooldown_s, self._half_open)
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
