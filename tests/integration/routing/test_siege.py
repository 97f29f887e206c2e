"""A siege: whatever candidates do, in whatever order, the promises of the route service hold.

Every route ends in time with its own reply or as a failed one; the books agree with the servers'; no limit is exceeded,
nothing is left open, and no key gets out. A failure prints the rules that led to it, and is found again from its seed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Endpoint, EndpointLimits, Price, RoutingPool, exact_usd, spend
from router_r1.protocol import Route
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from tests.integration.routing.siege import MOODS, SECRET, Asked, Books, SiegeServer, digest

KEY = "ROUTER_R1_SIEGE_KEY"
TIMEOUT_S, TOTAL_S = 0.2, 1.0
MARGIN_S = 0.3
"""How much later than it should a route may end, besides the time for which the event loop stood still."""
PATIENCE_S = 15.0
"""When the last route is waited for no longer."""
SURE_S = 0.1
"""A client that gives up closes its connection at once; one that is open for so much longer was not given up."""
LIMITS = {"A": 2, "B": 3, "C": 3, "X": 4}
"""Most requests in flight: A and B are served at X, C at X and Y."""
STATES = st.sampled_from([*MOODS, "paused", "going on"])
"""What a server may come to be."""
CONFIG = RoutingConfig(
    retries=RetryPolicy(total_s=TOTAL_S, backoff_s=0.005, backoff_max_s=0.02, retry_after_max_s=0.1),
    breaker=BreakerPolicy(least=20, cooldown_s=0.01, cooldown_max_s=0.1, patience_s=0.3),
    cache="readwrite",
    trace_texts=True,
)


@dataclass(eq=False)
class Asking:
    """One route, from the outside."""

    candidate: str
    query: str
    task: asyncio.Task[Route]
    began: float  # by the loop's clock, and so for the other
    ended: float | None = None

    @property
    def is_cancelled(self) -> bool:
        return self.task.done() and self.task.cancelled()

    @property
    def fault(self) -> BaseException | None:
        return self.task.exception() if self.task.done() and not self.is_cancelled else None

    @property
    def route(self) -> Route | None:
        return self.task.result() if self.task.done() and not self.is_cancelled and not self.fault else None


class Siege(RuleBasedStateMachine):
    """Routes are asked, cancelled and left alone, while the servers misbehave; the promises are checked at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.errors: list[str] = []  # what nobody awaited
        self.loop.set_exception_handler(lambda _, context: self.errors.append(repr(context)))
        self.folder = tempfile.TemporaryDirectory(prefix="siege_")
        self.log = _Log()
        self.numbers = itertools.count()
        self.asked: list[Asking] = []
        self.stalls: list[tuple[float, float]] = []  # (when, for how many seconds) the loop stood still
        os.environ[KEY] = SECRET

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    @initialize(
        number=st.integers(0, 2**32),
        in_a_hurry=st.sampled_from([False, False, False, True]),
        x=STATES,
        y=STATES,
    )
    def begin(self, number: int, in_a_hurry: bool, x: str, y: str) -> None:
        """`in_a_hurry`: at the end, the service is closed before its routes have come back."""
        self.in_a_hurry = in_a_hurry
        self.clock = self.loop.create_task(self._watch_the_clock())
        self.books = Books(LIMITS)
        names = {f"org/{name.lower()}": name for name in "ABC"}
        self.servers = {name: SiegeServer(name, number, self.books, names) for name in "XY"}
        for server in self.servers.values():
            self.run(server.start())
        self.change("X", x)
        self.change("Y", y)
        self.pool = _pool(self.servers["X"].base_url, self.servers["Y"].base_url)
        files = {"trace_file": f"{self.folder.name}/trace.jsonl", "cache_file": f"{self.folder.name}/cache.sqlite"}
        self.service = RouteService(self.pool, config=CONFIG.model_copy(update=files))

    async def _watch_the_clock(self) -> None:
        while True:
            due = self.loop.time() + 0.01
            await asyncio.sleep(0.01)
            if (late_s := self.loop.time() - due) > 0.005:
                self.stalls.append((self.loop.time(), late_s))

    # ------------------------------------------------------------ what may happen

    @rule(candidate=st.sampled_from("ABC"), count=st.integers(1, 12))
    def ask(self, candidate: str, count: int) -> None:
        """Several routes at once, no two alike."""
        for _ in range(count):
            self._ask(candidate, f"who was number {next(self.numbers)}?")
        self.wait(0)  # until they have begun: a task that is cancelled before is no route

    @rule(candidate=st.sampled_from("ABC"), query=st.sampled_from(["same?", "again?"]), count=st.integers(1, 4))
    def ask_alike(self, candidate: str, query: str, count: int) -> None:
        """Routes that may share a request, or find their reply in the cache; those to B may not."""
        for _ in range(count):
            self._ask(candidate, query)
        self.wait(0)

    @rule(which=st.lists(st.integers(0, 40), min_size=1, max_size=4))
    def cancel(self, which: list[int]) -> None:
        for index in which:
            if index < len(self.asked):
                self.asked[-1 - index].task.cancel()

    @rule(milliseconds=st.integers(0, 100))
    def wait(self, milliseconds: int) -> None:
        self.run(asyncio.sleep(milliseconds / 1000))

    @rule(name=st.sampled_from("XY"), to=STATES)
    def change(self, name: str, to: str) -> None:
        """From now on the server behaves otherwise."""
        server = self.servers[name]
        if to == "paused":
            server.pause()
        else:
            server.resume()
            server.mood = to if to in MOODS else server.mood

    @rule(name=st.sampled_from("XY"), milliseconds=st.integers(0, 100))
    def restart(self, name: str, milliseconds: int) -> None:
        server = self.servers[name]
        server.stop()
        self.run(asyncio.sleep(milliseconds / 1000))
        self.run(server.start())

    def _ask(self, candidate: str, query: str) -> None:
        task = self.loop.create_task(self.service.route(candidate, query))
        asking = Asking(candidate, query, task, self.loop.time())
        task.add_done_callback(lambda _: setattr(asking, "ended", self.loop.time()))
        self.asked.append(asking)

    # ------------------------------------------------------------ what must hold

    def teardown(self) -> None:
        try:
            if hasattr(self, "service"):
                faults = self.run(self._end())
                assert not faults, "\n".join(["", *faults])
        finally:
            del os.environ[KEY]
            self.log.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.folder.cleanup()

    async def _end(self) -> list[str]:
        """Wait for the routes, close everything, and say which promises were broken."""
        if self.in_a_hurry:
            await self.service.aclose()
        waiting = [asking.task for asking in self.asked if not asking.task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE_S)
        await asyncio.sleep(2 * SURE_S)  # until it is sure which replies were read
        faults = self._broken_promises()
        if not self.service.is_idle:
            faults.append("the service is not idle although no route is left")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self.service.aclose()
        if left := await self._left_open():
            faults.append(f"{left} connections are open after aclose")
        for server in self.servers.values():
            server.stop()
        self.clock.cancel()
        await asyncio.sleep(0)
        return faults + self._leaks() + self.errors

    async def _left_open(self) -> int:
        """Connections that the servers still have a second later, or sooner if there are none."""
        for _ in range(100):
            left = sum(len(server.connections) for server in self.servers.values())
            if not left:
                break
            await asyncio.sleep(0.01)
        return left

    def _broken_promises(self) -> list[str]:
        return [
            *itertools.chain.from_iterable(map(self._broken_by_route, self.asked)),
            *itertools.chain.from_iterable(self._broken_by_books(candidate) for candidate in self.pool.candidates),
            *self.books.excesses,
        ]

    def _broken_by_route(self, asking: Asking) -> list[str]:
        name = f"{asking.candidate} {asking.query!r}"
        if asking.ended is None:
            return [f"{name}: still waiting after {self.loop.time() - asking.began:.1f} s"]
        faults = []
        if asking.fault and not (isinstance(asking.fault, ConfigError) and KEY in str(asking.fault)):
            faults.append(f"{name}: raised {asking.fault!r}")
        allowed = self._time_starts(asking) + TOTAL_S + MARGIN_S + self._stalled_s(asking.began, asking.ended)
        if not asking.is_cancelled and asking.ended > allowed:
            faults.append(
                f"{name}: ended {asking.ended - allowed:.2f} s too late, after {asking.ended - asking.began:.2f} s"
            )
        if route := asking.route:
            begins = digest(f"org/{asking.candidate.lower()}", asking.query)
            if (route.candidate, route.query) != (asking.candidate, asking.query):
                faults.append(f"{name}: came back as {route.candidate} {route.query!r}")
            if not route.failed and not route.reply.startswith(begins):
                faults.append(f"{name}: got another's reply, {route.reply[:40]!r}")
            if route.failed and (route.reply or not route.error):
                faults.append(f"{name}: failed with reply {route.reply!r} and error {route.error!r}")
        return faults

    def _time_starts(self, asking: Asking) -> float:
        """When the time of a route begins to run: when it was asked, or, as long as it waits for its first request,
        with the last reply that its candidate gave to another: waiting in a queue that moves is no fault.
        """
        assert asking.ended is not None
        name, query = asking.candidate, asking.query
        mine = [request for request in self.books.requests if request.candidate == name]
        first = asking.ended  # several routes with one query: whose request is whose, the servers cannot know
        if sum((other.candidate, other.query) == (name, query) for other in self.asked) == 1:
            first = min((request.came for request in mine if request.query == query), default=asking.ended)
        replies = [r.delivered for r in mine if r.delivered and r.delivered <= first and r.script and r.script.is_reply]
        return max([asking.began, *replies])

    def _stalled_s(self, begin: float, end: float) -> float:
        """How long the event loop stood still in this time, for whatever reason."""
        # What ends in a stall ends before the clock has noticed it.
        return sum(late_s for when, late_s in self.stalls if begin <= when and when - late_s <= end)

    def _broken_by_books(self, candidate: Candidate) -> list[str]:
        """The ledger against routes and servers.

        What a request costs that was cancelled, timed out or broke off is unknown, so what was booked lies between what
        was charged for requests that were surely read and what was charged for all; mostly these are the same.
        """
        name, account = candidate.name, self.service.ledger.accounts[candidate.name]
        mine = [asking for asking in self.asked if asking.candidate == name]
        ended = [asking for asking in mine if asking.ended is not None]
        told = Counter(
            "cancelled" if a.is_cancelled else "finished" if a.route and not a.route.failed else "failed" for a in ended
        )
        faults = []
        booked = {"finished": account.finished, "failed": account.failed, "cancelled": account.cancelled}
        if booked != {status: told[status] for status in booked} or account.started != len(mine):
            faults.append(f"{name}: {account.started} routes in the ledger, {booked}; really {len(mine)}, {dict(told)}")
        came = [request for request in self.books.requests if request.candidate == name]
        if len(came) > account.requests:
            faults.append(f"{name}: {len(came)} requests came, {account.requests} are in the ledger")
        cancelled = {asking.query for asking in mine if asking.is_cancelled}
        sent = [(r, spend(candidate, *r.script.tokens)) for r in came if r.delivered is not None and r.script]
        sure = sum((usd for r, usd in sent if r.query not in cancelled and self._is_sure(r)), Decimal(0))
        most = sum((usd for _, usd in sent), Decimal(0))
        if not sure <= account.spend_usd <= most:
            faults.append(f"{name}: booked {account.spend_usd} USD, charged {sure} to {most}")
        by_route = sum((exact_usd(a.route.spend_usd) for a in ended if a.route), Decimal(0))
        if by_route > account.spend_usd or (
            not cancelled and by_route != account.spend_usd and len(ended) == len(mine)
        ):
            faults.append(f"{name}: booked {account.spend_usd} USD, the routes tell of {by_route}")
        return faults

    def _is_sure(self, request: Asked) -> bool:
        """Whether the reply was read, and in time; who stood still meanwhile may have been too late."""
        if request.delivered is None or request.delivered - request.came > TIMEOUT_S / 2:
            return False
        stalled_s = self._stalled_s(request.came, request.delivered + 2 * SURE_S)
        return request.is_surely_read(SURE_S) and stalled_s < SURE_S / 2

    def _leaks(self) -> list[str]:
        """Where the key, or a piece of it, can be read."""
        routes = [asking.route for asking in self.asked if asking.route]
        texts = {
            "a log record": self.log.text,
            "a reply": "\n".join(route.reply for route in routes),
            "an error": "\n".join([route.error for route in routes] + [str(a.fault) for a in self.asked if a.fault]),
        }
        for file in Path(self.folder.name).iterdir():
            texts[file.name] = file.read_bytes().decode("latin-1")
        pieces = [SECRET[i : i + 8] for i in range(len(SECRET) - 7)]
        faults = [f"the key is in {place}" for place, text in texts.items() if any(piece in text for piece in pieces)]
        for place in ("a log record", "an error"):
            if found := {ch for ch in texts[place] if ch in "\x1b\x07\x9b\u202e"}:
                faults.append(f"{found!a} in {place}")
        lines = [json.loads(line) for line in texts.get("trace.jsonl", "").splitlines()]
        if len(lines) > len(self.asked) or (len(lines) < len(self.asked) and not self.in_a_hurry):
            faults.append(f"{len(lines)} lines in the trace of {len(self.asked)} routes")
        return faults


class _Log(logging.Handler):
    """Everything that is logged meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines: list[str] = []
        self._logger = logging.getLogger("router_r1")
        self._before = self._logger.level, self._logger.propagate
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False  # thousands of lines would hide what failed

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.level, self._logger.propagate = self._before
        super().close()


def _pool(x: str, y: str) -> RoutingPool:
    common: dict[str, Any] = {"timeout_s": TIMEOUT_S, "api_key_env": KEY, "descriptor": "d", "base_url": x}
    places = {"C": (Endpoint(base_url=x), Endpoint(base_url=y))}
    return RoutingPool(
        name="besieged",
        candidates=tuple(
            Candidate(
                name=name,
                model=f"org/{name.lower()}",
                price=Price(input=0.5, output=2.0),
                max_concurrency=LIMITS[name],
                temperature=0.5 if name == "B" else 0.0,
                endpoints=places.get(name, ()),
                **common,
            )
            for name in "ABC"
        ),
        endpoint_limits=(EndpointLimits(base_url=x, max_concurrency=LIMITS["X"]),),
    )


RULES = settings(
    deadline=None,
    phases=[Phase.generate],  # a smaller example would take minutes to find
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=True,
)


@pytest.mark.slow
def test_the_promises_hold_in_a_short_siege() -> None:
    run_state_machine_as_test(
        Siege, settings=settings(RULES, derandomize=True, max_examples=14, stateful_step_count=20)
    )


MINUTES = float(os.environ.get("ROUTER_R1_SIEGE_MINUTES", "5"))
FIRST_SEED = int(os.environ.get("ROUTER_R1_SIEGE_SEED", "0"))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(60 * MINUTES + 600)
def test_the_promises_hold_in_a_long_siege() -> None:
    """ROUTER_R1_SIEGE_MINUTES says how long, ROUTER_R1_SIEGE_SEED with which seed to begin: that of a failure."""
    ends = time.monotonic() + 60 * MINUTES
    for number in itertools.count(FIRST_SEED):
        besieged = seed(number)(type("Siege", (Siege,), {}))
        try:
            run_state_machine_as_test(besieged, settings=settings(RULES, max_examples=10, stateful_step_count=30))
        except BaseException as fault:
            fault.add_note(f"found again with ROUTER_R1_SIEGE_SEED={number}")
            raise
        if time.monotonic() > ends:
            break
