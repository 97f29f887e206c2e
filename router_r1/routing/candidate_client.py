"""Asking one candidate: where, when, how often; until it has replied or no further attempt makes sense.

Invariants:

- no request is sent without a permit of the candidate, of its endpoint and of the adaptive gate, nor while the breaker
  is open; a route that backs off, or waits for an outage to end, holds none of them;
- a route has one request in flight at most;
- every request is counted when it is sent, whatever becomes of it, and what its answer says of tokens is booked when it
  has been read. What a request costs that timed out, was cancelled or broke off is unknown and not booked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from router_r1.pool import Candidate, Message, spend
from router_r1.routing import failures
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
    deadline: float = math.inf  # monotonic time; set when the first request is sent
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
        reply: Reply = await retrying(self._config.retries, lambda: call.deadline)(self._attempt, call)
        return reply

    async def _attempt(self, call: Call) -> Reply:
        """One request, as soon as the limits and the breaker of an endpoint let it pass."""
        is_retry = call.attempts > 0
        while True:
            client = await self._available(call)
            tokens = estimate_prompt_tokens(call.messages) + self._usual_completion
            async with self._admitted(client, tokens, first=is_retry):
                if client.breaker.may_pass:  # it may have opened while this route was queueing
                    return await self._send(client, call, tokens)
            is_retry = True

    @asynccontextmanager
    async def _admitted(self, client: EndpointClient, tokens: float, *, first: bool) -> AsyncIterator[None]:
        """Hold every permit a request needs. The candidate's own come first: who waits there blocks no other one."""
        async with self._quota.admitted(tokens, first=first):
            await client.gate.acquire(first=first)
            try:
                async with client.quota.admitted(tokens, first=first):
                    await client.resumed()
                    yield
            finally:
                client.gate.release()

    async def _available(self, call: Call) -> EndpointClient:
        """Where to send the next request; waits out a short outage of all places.

        Raises:
            RouteError: the outage has lasted for some time.
        """
        while True:
            usable = [client for client in self._clients if client not in call.barred] or list(self._clients)
            ready = [client for client in usable if client.breaker.may_pass]
            if ready:
                return choose([client for client in ready if client not in call.failed_at] or ready)
            patience_s = max(client.breaker.patience_left_s for client in usable)
            patience_s = min(patience_s, call.deadline - time.monotonic())
            if patience_s <= 0:
                raise failures.unavailable(self._candidate, usable[0].last_fault)
            await _any_changed(usable, patience_s)

    async def _send(self, client: EndpointClient, call: Call, tokens: float) -> Reply:
        """One request, admitted for `tokens`.

        Raises:
            RouteError: for everything that an endpoint, or the candidate's adapter, can do wrong.
        """
        self._ledger.check_budget()
        connection = self._pool_clients.connection(client.endpoint)
        candidate = self._candidate
        now = time.monotonic()
        if not call.attempts:
            call.deadline = now + max(self._config.retries.total_s, candidate.timeout_s)
        within_s = min(candidate.timeout_s, call.deadline - now)
        if within_s <= 0:
            raise failures.out_of_time(candidate)
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
                client.breaker.record(ok=not fault.is_outage, trial=is_trial, is_certain=nobody_there)
            self._settle(client, sum(fault.usage) - tokens)
            raise self._booked(fault, client, call) from None
        except BaseException:
            client.breaker.abandon(trial=is_trial)
            raise
        client.breaker.record(ok=True, trial=is_trial)
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
        client.last_fault = str(fault)
        if fault.is_throttle:
            client.throttled(min(fault.retry_after_s, self._config.retries.retry_after_max_s))
        else:
            client.gate.record(refused=False)
        if not fault.transient:
            call.barred.add(client)
            fault.transient = len(call.barred) < len(self._clients)
        if len(call.failed_at) == len(self._clients):
            call.failed_at.clear()
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
