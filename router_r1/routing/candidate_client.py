"""Asking one candidate: where, when, how often; until it has replied or no further attempt makes sense.

Invariants:

- no request is sent without a permit of the candidate, of its endpoint and of the adaptive gate, nor while the breaker
  is open or the endpoint wants to be left alone; a route that backs off, or waits for an outage to end, holds none of
  them, and one that waits for its own candidate holds none that another candidate may need;
- a route has one request in flight at most, and ends by its deadline, whatever it waits for;
- every request is counted when it is sent, whatever becomes of it, and what its answer says of tokens is booked when it
  has been read. What a request costs that timed out, was cancelled or broke off is unknown and not booked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

from router_r1.pool import Candidate, Message, spend
from router_r1.routing import failures
from router_r1.routing.breaker import Outcome
from router_r1.routing.config import RoutingConfig
from router_r1.routing.endpoint_client import EndpointClient, EndpointClients, choose
from router_r1.routing.failures import RouteError
from router_r1.routing.ledger import Ledger
from router_r1.routing.limits import Quota
from router_r1.routing.metrics import RouteMetrics
from router_r1.routing.replies import Reply, estimate_prompt_tokens, read_reply
from router_r1.routing.retries import retrying

logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One sub-query, and what its requests have come to so far."""

    query: str
    messages: Sequence[Message]
    asked: float = field(default_factory=time.monotonic)
    deadline: float | None = None  # monotonic time; fixed when the first request is sent
    last_fault: str = ""
    attempts: int = 0
    spend_usd: Decimal = Decimal(0)
    host: str = ""  # of the endpoint asked last
    failed_at: set[EndpointClient] = field(default_factory=set)
    barred: set[EndpointClient] = field(default_factory=set)  # those that refused for good


class CandidateClient:
    """Asks one candidate within its limits. Belongs to one event loop."""

    def __init__(
        self,
        candidate: Candidate,
        clients: EndpointClients,
        config: RoutingConfig,
        ledger: Ledger,
        metrics: RouteMetrics,
    ) -> None:
        self._candidate, self._config = candidate, config
        self._pool_clients, self._clients = clients, clients.of(candidate)
        self._quota = Quota(candidate.max_concurrency, candidate.rpm, candidate.tpm)
        self._ledger, self._metrics = ledger, metrics
        self._account = ledger.accounts[candidate.name]
        self._usual_completion = float(candidate.max_tokens)
        self._last_reply = -math.inf  # monotonic time
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        """Whether no request holds a permit, here or at an endpoint, and none waits for one."""
        return self._quota.is_idle and all(client.gate.is_idle and client.quota.is_idle for client in self._clients)

    async def ask(self, call: Call) -> Reply:
        """The candidate's reply; `call` says what it took, also when there was none.

        Raises:
            RouteError: there was none.
            BudgetSpent: no further request may be sent.
            ConfigError: the variable with the candidate's key is unset.
        """
        attempts = retrying(self._config.retries, lambda: self._deadline(call), self._back_off)
        reply: Reply = await attempts(self._attempt, call)
        return reply

    def close(self) -> None:
        """Routes that wait fail now; those in flight do when their connections are closed."""
        self._closed.set()
        for scope in self._waiting:
            _end(scope)

    async def _back_off(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def _deadline(self, call: Call) -> float:
        """When the route ends at the latest.

        Waiting for the limits of one's own pool file is no fault, as long as there are replies: until its first request
        is sent, a route's time runs from the candidate's last reply.
        """
        if call.deadline is not None:
            return call.deadline
        return max(call.asked, self._last_reply) + max(self._config.retries.total_s, self._candidate.timeout_s)

    async def _attempt(self, call: Call) -> Reply:
        """One request, as soon as the limits and the breaker of an endpoint let it pass."""
        is_retry = call.attempts > 0
        while True:
            with ExitStack() as permits:
                client, tokens = await self._admitted(call, permits, first=is_retry)
                if client is not None:
                    return await self._send(client, call, tokens)
            is_retry = True

    async def _admitted(self, call: Call, permits: ExitStack, *, first: bool) -> tuple[EndpointClient | None, float]:
        """Take every permit that a request needs, and for how many tokens; None where the wait was in vain.

        Raises:
            RouteError: the route's deadline has come, the outage is no short one, or the service was closed.
        """
        try:
            async with asyncio.timeout(None) as scope:
                with self._watched(scope, call):
                    return await self._queue(call, permits, first=first)
        except TimeoutError:
            if self._closed.is_set():
                raise failures.closed() from None
            lately = call.last_fault or self._clients[0].last_fault
            raise failures.out_of_time(self._candidate, time.monotonic() - call.asked, lately) from None

    async def _queue(self, call: Call, permits: ExitStack, *, first: bool) -> tuple[EndpointClient | None, float]:
        """The candidate's own permits come first, and those it shares with others last: who waits blocks no other."""
        if self._closed.is_set():
            raise failures.closed()
        await self._outage_over(call)
        tokens = estimate_prompt_tokens(call.messages) + self._usual_completion
        own = await self._quota.admit(tokens, first=first)
        permits.callback(own.release)
        client = self._place(call)
        if client is None:
            return None, 0.0
        await client.gate.acquire(first=first)
        permits.callback(client.gate.release)
        while client.pause_left_s:
            if self._place(call) is not client:
                return None, 0.0
            await _any_changed(self._usable(call), client.pause_left_s)
        shared = await client.quota.admit(tokens, first=first)
        permits.callback(shared.release)
        # While this route was queueing, much may have happened.
        if client.pause_left_s or not client.may_pass:
            return None, 0.0
        own.is_used = shared.is_used = True
        return client, tokens

    @contextmanager
    def _watched(self, scope: asyncio.Timeout, call: Call) -> Iterator[None]:
        """End a scope at the route's deadline, which moves, or when the service is closed."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def check() -> None:
            nonlocal timer
            if (deadline := self._deadline(call)) <= loop.time():
                _end(scope)
            else:
                timer = loop.call_at(deadline, check)

        check()
        self._waiting.add(scope)
        try:
            yield
        finally:
            self._waiting.discard(scope)
            if timer:
                timer.cancel()

    def _usable(self, call: Call) -> list[EndpointClient]:
        return [client for client in self._clients if client not in call.barred] or list(self._clients)

    async def _outage_over(self, call: Call) -> None:
        """Wait out a short outage of all places.

        Raises:
            RouteError: the outage has lasted for some time.
        """
        usable = self._usable(call)
        while not any(client.may_pass for client in usable):
            patience_s = max(client.breaker.patience_left_s for client in usable)
            if patience_s <= 0:
                raise failures.unavailable(self._candidate, usable[0].last_fault)
            pauses_s = (client.pause_left_s for client in usable)
            await _any_changed(usable, min([patience_s, *filter(None, pauses_s)]))

    def _place(self, call: Call) -> EndpointClient | None:
        """Where to send the next request: where it need not wait, and has not failed, if there is such a place."""
        ready = [client for client in self._usable(call) if client.may_pass]
        if len(ready) < 2:
            return ready[0] if ready else None

        def drawbacks(client: EndpointClient) -> tuple[float, bool, bool]:
            return client.pause_left_s, client in call.failed_at, client.gate.is_full

        ranked = [(drawbacks(client), client) for client in ready]
        least = min(rank for rank, _ in ranked)
        return choose(client for rank, client in ranked if rank == least)

    async def _send(self, client: EndpointClient, call: Call, tokens: float) -> Reply:
        """One request, admitted for `tokens`.

        Raises:
            RouteError: for everything that an endpoint, or the candidate's adapter, can do wrong.
        """
        self._ledger.check_budget()
        connection = self._pool_clients.connection(client.endpoint)
        candidate = self._candidate
        now = time.monotonic()
        call.deadline = self._deadline(call)
        within_s = min(candidate.timeout_s, call.deadline - now)
        if within_s <= 0:
            raise failures.out_of_time(candidate, now - call.asked, call.last_fault)
        call.attempts += 1
        call.host = client.host
        request = connection.request(client.adapter, candidate, client.endpoint, call.messages)
        self._account.requests += 1
        is_trial = client.breaker.begin()
        try:
            with self._metrics.request_in_flight(candidate.name):
                content = await connection.post(request, within_s)
            reply = read_reply(content, request)
        except RouteError as fault:
            if fault.kind == "timeout" and within_s < candidate.timeout_s:
                client.breaker.abandon(trial=is_trial)  # it was the route that ran out of time
            else:
                nobody_there = fault.kind == "unreachable"
                client.breaker.record(fault.outcome, trial=is_trial, is_certain=nobody_there)
            self._settle(client, sum(fault.usage) - tokens)
            raise self._booked(fault, client, call) from None
        except BaseException:
            client.breaker.abandon(trial=is_trial)
            raise
        client.breaker.record(Outcome.WORKS, trial=is_trial)
        self._last_reply = time.monotonic()
        client.gate.record(refused=False)
        self._settle(client, reply.prompt_tokens + reply.completion_tokens - tokens)
        self._book(reply, client, call, time.monotonic() - now)
        return reply

    def _booked(self, fault: RouteError, client: EndpointClient, call: Call) -> RouteError:
        """Book a failed request; the fault, which is a transient one as long as there is another place to ask."""
        logger.debug("attempt %d: %s", call.attempts, fault)
        self._metrics.request(self._candidate.name, client.host, fault.kind)
        self._charge(call, *fault.usage)
        call.failed_at.add(client)
        call.last_fault = client.last_fault = str(fault)
        if fault.outcome is Outcome.THROTTLED:
            client.throttled(min(fault.retry_after_s, self._config.retries.retry_after_max_s))
        else:
            client.gate.record(refused=False)
        if not fault.transient:
            call.barred.add(client)
            fault.transient = len(call.barred) < len(self._clients)
        if len(call.failed_at) == len(self._clients):
            call.failed_at.clear()
        else:
            fault.elsewhere = any(
                other.may_pass and not other.pause_left_s for other in self._usable(call) if other not in call.failed_at
            )
        return fault

    def _book(self, reply: Reply, client: EndpointClient, call: Call, latency_s: float) -> None:
        logger.debug("%s replied at attempt %d", self._candidate.name, call.attempts)
        self._metrics.request(self._candidate.name, client.host, "ok", latency_s)
        self._charge(call, reply.prompt_tokens, reply.completion_tokens)
        self._account.estimated += reply.usage_estimated
        self._usual_completion += 0.1 * (reply.completion_tokens - self._usual_completion)

    def _charge(self, call: Call, prompt_tokens: int, completion_tokens: int) -> None:
        if not (prompt_tokens or completion_tokens):
            return
        amount = spend(self._candidate, prompt_tokens, completion_tokens)
        call.spend_usd += amount
        self._account.prompt_tokens += prompt_tokens
        self._account.completion_tokens += completion_tokens
        self._ledger.charge(self._candidate.name, amount)
        self._metrics.charged(self._candidate.name, prompt_tokens, completion_tokens, float(amount))

    def _settle(self, client: EndpointClient, difference: float) -> None:
        """A request took `difference` tokens more than it was admitted for."""
        self._quota.settle(difference)
        client.quota.settle(difference)


def _end(scope: asyncio.Timeout) -> None:
    if not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


async def _any_changed(clients: list[EndpointClient], within_s: float) -> None:
    """Return when one of the breakers changes, or after `within_s` seconds."""
    if len(clients) == 1:
        await clients[0].breaker.changed(within_s)
        return
    waits = [asyncio.create_task(client.breaker.changed(within_s)) for client in clients]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
