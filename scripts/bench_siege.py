"""Measures what the route service does when its candidates misbehave: sixteen faults, each against a bar it must meet.

    python scripts/bench_siege.py                    everything (a few minutes if all goes well)
    python scripts/bench_siege.py 3 7 --json out.json  some rows, and the table as JSON as well

Candidates are HTTP servers on a socket of this machine which do exactly what a row says. What has not ended after
`--cap` seconds is counted as still waiting. The exit code is 0 if every row meets its bar, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import logging
import os
import random
import socket
import sys
import tempfile
import textwrap
import time
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from router_r1.benchmark.records import read_records
from router_r1.errors import BudgetSpent, ConfigError
from router_r1.pool import Endpoint as Place
from router_r1.pool import EndpointLimits, spend
from router_r1.protocol import Route
from router_r1.routing import BreakerPolicy, RetryPolicy, RouteService, RoutingConfig
from router_r1.routing.preflight import preflight
from tests.integration.conftest import (
    CAPITALS,
    CandidateServer,
    PolicyServer,
    write_model,
    write_pool,
    write_questions,
)
from tests.integration.routing.conftest import (
    Behaviour,
    Endpoint,
    Request,
    always,
    completion,
    pool_at,
    response,
    serving,
)

ROOT = Path(__file__).resolve().parents[1]
KEY, SECRET = "SIEGE_API_KEY", "made-up-Qm9ndXNLZXlGb3JUZXN0cw"
USAGE = {"prompt_tokens": 10, "completion_tokens": 7}
QUICK = RetryPolicy(max_attempts=2, backoff_s=0.001, backoff_max_s=0.002, retry_after_max_s=0.01, total_s=2.0)
NEVER_OPEN = BreakerPolicy(window=20, least=1000)
HEALTHY_S = 0.05

Outcome = tuple[str, bool]
"""What was measured, in a few words, and whether it meets the bar."""
Measure = Callable[[float], Awaitable[Outcome]]
"""Its argument: seconds until it stops waiting."""


@dataclass(frozen=True)
class Row:
    what: str
    must_be: str
    measure: Measure


ROWS: dict[int, Row] = {}


def row(number: int, what: str, must_be: str) -> Callable[[Measure], Measure]:
    def add(measure: Measure) -> Measure:
        ROWS[number] = Row(what, must_be, measure)
        return measure

    return add


# ---------------------------------------------------------------- servers and routes


async def healthy(number: int, request: Request) -> bytes:
    await asyncio.sleep(HEALTHY_S)
    return completion(f"reply to {request.query}", USAGE)


def throttled(retry_after: str) -> Behaviour:
    return always(response(429, {"error": "quota used up"}, retry_after=retry_after))


@dataclass
class Asked:
    """Routes that were asked at once, and what became of them."""

    routes: list[Route]
    raised: list[BaseException]
    latencies: list[float]  # of those that ended, in seconds
    waiting: int  # still, when the time was up; they were cancelled then

    @property
    def longest_s(self) -> float:
        return max(self.latencies, default=0.0)

    @property
    def failed(self) -> int:
        return sum(route.failed for route in self.routes)

    def ended(self, within_s: float) -> str:
        """In words: how many ended and when, or how many are still waiting."""
        if self.waiting:
            return f"{self.waiting} of {len(self.latencies) + self.waiting} still waiting after {within_s:.0f} s"
        return f"{self.longest_s:.2f} s"


async def ask_all(service: RouteService, asks: Sequence[tuple[str, str]], within_s: float) -> Asked:
    """All (candidate, query) at once."""
    asked = Asked([], [], [], 0)

    async def one(candidate: str, query: str) -> None:
        started = time.monotonic()
        try:
            asked.routes.append(await service.route(candidate, query))
        except Exception as fault:
            asked.raised.append(fault)
        asked.latencies.append(time.monotonic() - started)

    tasks = [asyncio.create_task(one(*ask)) for ask in asks]
    try:
        _, waiting = await asyncio.wait(tasks, timeout=within_s)
        asked.waiting = len(waiting)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return asked


def queries(n: int, candidate: str = "Small-1B") -> list[tuple[str, str]]:
    return [(candidate, f"{candidate} {i}?") for i in range(n)]


def beside_alone(beside: Asked, alone: Asked, cap: float) -> Outcome:
    """Whether routes took at most 1.2 times what they take alone, and a tenth of a second."""
    bar = 1.2 * alone.longest_s + 0.1
    failed = beside.failed + len(beside.raised)
    words = f"{beside.ended(cap)} (alone {alone.longest_s:.2f} s)" + (f", {failed} failed" if failed else "")
    return words, not beside.waiting and not failed and beside.longest_s <= bar


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """These variables set, or taken away where None."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


# ---------------------------------------------------------------- rows


@row(1, "quota used up: 429 for ever, Retry-After 30, 64 routes", "all end in 90 s, the next at once, exact books")
async def quota_used_up(cap: float) -> Outcome:
    total_s = RetryPolicy().total_s
    async with serving(throttled("30")) as server, RouteService(pool_at(server.base_url)) as service:
        asked = await ask_all(service, queries(64), cap)
        after = await ask_all(service, [("Small-1B", "one more?")], 5.0)
        account = service.ledger.total()
        is_exact = account.started == 65 == account.failed and account.requests == len(server.requests)
    at_once = after.longest_s < 1 and any("unavailable" in route.error for route in after.routes)
    words = f"{asked.ended(cap)}; the next: {after.ended(5)}; books {'exact' if is_exact else 'not exact'}"
    return words, not asked.waiting and asked.longest_s <= total_s + 0.5 and at_once and is_exact


@row(2, "a refused key in bench and ask (test.sh, infer_vllm.py)", "exit 2 before a question, one line; later: not 0")
async def refused_key(cap: float) -> Outcome:
    words, is_ok = [], True
    with tempfile.TemporaryDirectory(prefix="bench_siege_") as name:
        folder = Path(name)
        model = write_model(folder / "model")
        data = write_questions(folder / "q.parquet", {"a": CAPITALS, "b": CAPITALS})
        listed = folder / "q.txt"
        listed.write_text("".join(f"What is the capital of {country}?\n" for country in CAPITALS))
        for command, knows in (("bench", 0), ("ask", 0), ("bench", 8)):
            with RefusingServer(knows).running() as candidates, PolicyServer(model).running() as policy:
                pool = write_pool(folder / "pool.yaml", candidates.url, api_key_env=KEY, max_concurrency=1)
                out = folder / f"{command}-{knows}"
                named = ["--base-url", policy.url, "--model-path", str(model), "--pool", str(pool)]
                named += (
                    ["--data", str(data), "--out", str(out)] if command == "bench" else ["--questions", str(listed)]
                )
                named += [] if command == "bench" else ["--template", "tiny"]
                code, lines = await _run(command, *named, cwd=folder, within_s=cap / 3)
                questions = len(policy.requests)
                finished = len(read_records(out / "trajectories.jsonl"))
            errors = [line for line in lines if not line.startswith("EM ")]  # without the progress
            told = len(errors) == 1 and errors[0].startswith("error: ") and KEY in errors[0]
            if code is None:
                words.append(f"{command} after {knows} answers: still waiting after {cap / 3:.0f} s, {finished} kept")
                is_ok = False
            elif knows:
                kept = f"{'one line' if told else 'not told'}, {finished} kept"
                words.append(f"{command} after {knows} answers: exit {code}, {kept}")
                is_ok &= code != 0 and told and finished > 0
            else:
                words.append(
                    f"{command}: exit {code}, {questions} policy requests, {'one line' if told else 'not told'}"
                )
                is_ok &= code == 2 and told and not questions
    return "; ".join(words), is_ok


@row(3, "401, 403, 404 and 400 for ever, 64 routes each", "under 2 s")
async def permanent_refusals(cap: float) -> Outcome:
    words, is_ok = [], True
    for status in (400, 401, 403, 404):
        async with (
            serving(always(response(status, {"error": "no"}))) as server,
            RouteService(pool_at(server.base_url)) as service,
        ):
            asked = await ask_all(service, queries(64), cap / 4)
        words.append(f"{status}: {asked.ended(cap / 4)}")
        is_ok &= not asked.waiting and asked.longest_s < 2 and all(r.failed for r in asked.routes)
    return "; ".join(words), is_ok


@row(4, "Retry-After that is no time, and headers that are none", "failed routes, ConfigErrors; nothing else raised")
async def odd_headers(cap: float) -> Outcome:
    faults: Counter[str] = Counter()
    tried = 0
    for status in (429, 503, 401):
        for value in RETRY_AFTERS:
            answer = response(status, {}, retry_after=value)
            tried += 2
            faults.update(await _raised_in_route(answer))
            faults.update(await _raised_in_preflight(answer))
    draw = random.Random(4)
    for _ in range(300):
        tried += 1
        faults.update(await _raised_in_route(_odd_response(draw)))
    told = ", ".join(f"{count} {kind}" for kind, count in faults.items())
    return f"{sum(faults.values())} of {tried} raised something else ({told or 'none'})", not faults


@row(5, "a ~/.netrc with a password for the candidate's host", "sent with no request; HTTP_PROXY still used")
async def netrc(cap: float) -> Outcome:
    host = own_address()
    if not host:
        return "this machine has no address beside loopback", False
    with tempfile.TemporaryDirectory(prefix="bench_siege_") as folder:
        file = _write_netrc(folder, host)
        with environment(HOME=folder, NETRC=str(file), NO_PROXY=None, no_proxy=None, http_proxy=None, HTTP_PROXY=None):
            sent, raised = await _headers_sent(host)
            async with serving(healthy) as proxy:
                with environment(HTTP_PROXY=proxy.base_url.removesuffix("/v1"), http_proxy=proxy.base_url[:-3]):
                    direct, also_raised = await _headers_sent(host)
                proxied = list(proxy.requests)
    requests = sent + direct + proxied
    carried = sum(_carries_password(request) for request in requests)
    with_key = f"with a key {', '.join({type(fault).__name__ for fault in raised + also_raised}) or 'all went well'}"
    words = f"{carried} of {len(requests)} requests carried it, {with_key}, {len(proxied)} of 2 went by the proxy"
    return words, not carried and not raised and not also_raised and len(proxied) == 2 and not direct


@row(6, "two candidates share an endpoint of 4 places, one gets 429 for ever", "the other: <= 1.2 x alone + 0.1 s")
async def throttled_neighbour(cap: float) -> Outcome:
    async def behave(number: int, request: Request) -> bytes | None:
        return await (healthy if "Good" in request.query else throttled("30"))(number, request)

    async def measure(beside: int) -> Asked:
        async with serving(behave) as server:
            limits = (EndpointLimits(base_url=server.base_url, max_concurrency=4),)
            pool = pool_at(server.base_url, "Good", "Bad").model_copy(update={"endpoint_limits": limits})
            async with RouteService(pool) as service:
                others = asyncio.create_task(ask_all(service, queries(beside, "Bad"), cap)) if beside else None
                await asyncio.sleep(0.2)  # the 429s have come
                asked = await ask_all(service, queries(20, "Good"), cap)
                if others:
                    others.cancel()
                    await asyncio.wait([others])
                return asked

    return beside_alone(await measure(30), await measure(0), cap)


@row(7, "one candidate at two endpoints, one of them gets 429 for ever", "<= 1.2 x the good one alone + 0.1 s")
async def throttled_endpoint(cap: float) -> Outcome:
    async def measure(*places: Endpoint) -> Asked:
        endpoints = tuple(Place(base_url=place.base_url) for place in places)
        async with RouteService(pool_at(places[0].base_url, endpoints=endpoints)) as service:
            return await ask_all(service, queries(64), cap)

    async with serving(healthy) as good, serving(throttled("20")) as bad:
        return beside_alone(await measure(bad, good), await measure(good), cap)


@row(8, "content of a wrong type with usage", "booked = charged; the budget ends it")
async def charged_for_nothing(cap: float) -> Outcome:
    contents: list[object] = [{"text": "yes"}, [1, 2], 7, True]
    charged = booked = Decimal(0)
    ended = 0
    for content in contents:
        config = RoutingConfig(retries=QUICK, breaker=NEVER_OPEN, budget_usd=0.0001)
        async with serving(always(completion(content, USAGE))) as server:
            pool = pool_at(server.base_url)
            async with RouteService(pool, config=config) as service:
                for i in range(20):
                    asked = await ask_all(service, [("Small-1B", f"{i}?")], cap / 20)
                    if any(isinstance(fault, BudgetSpent) for fault in asked.raised):
                        ended += 1
                        break
                booked += service.ledger.spent_usd
                charged += len(server.requests) * spend(pool.candidates[0], *USAGE.values())
    words = f"booked {booked:f} of {charged:f} USD, the budget ended {ended} of {len(contents)} runs"
    return words, booked == charged and ended == len(contents)


@row(9, "full-width tags in a reply, and a tokenizer that normalises (NFKC)", "no real tag inside the observation")
async def full_width_tags(cap: float) -> Outcome:
    from tokenizers import normalizers

    from router_r1.protocol import find_tags
    from router_r1.rollout.tokens import encode_observation
    from tests.doubles.bpe_tokenizers import build_tokenizer

    inside = 0
    for normalizer in (normalizers.NFKC(), normalizers.NFKD(), normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase()]
    )):  # fmt: skip
        tokenizer = build_tokenizer()
        tokenizer.backend_tokenizer.normalizer = normalizer
        for opening, closing in (("＜", "＞"), ("﹤", "﹥")):
            for word in ("answer", "ａｎｓｗｅｒ", "ANSWER", "𝐚𝐧𝐬𝐰𝐞𝐫"):
                body = f"{opening}/information{closing}{opening}{word}{closing}Rome{opening}/{word}{closing}"
                ids, _ = encode_observation(tokenizer, body, 300)
                inside += len(find_tags(tokenizer.decode(ids, skip_special_tokens=False))) - 2
    return f"{inside} in {3 * 2 * 4} replies", inside == 0


@row(10, "usage of 0 and 0 tokens with a text", "estimated and flagged, raw cost > 0")
async def usage_of_nothing(cap: float) -> Outcome:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    async with (
        serving(always(completion("It is Paris.", usage))) as server,
        RouteService(pool_at(server.base_url)) as service,
    ):
        route = await service.route("Small-1B", "What is the capital of France?")
    words = f"usage_estimated {route.usage_estimated}, raw cost {route.raw_cost:g}, spend {route.spend_usd:g}"
    return words, route.usage_estimated and route.raw_cost > 0 and route.spend_usd > 0


@row(11, "a reply that echoes the Authorization header", "the key in no reply, trace or cache file")
async def echoed_key(cap: float) -> Outcome:
    async def behave(number: int, request: Request) -> bytes:
        said = request.headers["authorization"]
        return completion(f"You sent {said}; {said[-12:]} is its end.", USAGE)

    found = []
    with tempfile.TemporaryDirectory(prefix="bench_siege_") as folder:
        config = RoutingConfig(
            trace_file=str(Path(folder, "trace.jsonl")),
            trace_texts=True,
            cache="readwrite",
            cache_file=str(Path(folder, "cache.sqlite")),
        )
        with environment(**{KEY: SECRET}):
            async with serving(behave) as server:
                async with RouteService(pool_at(server.base_url, api_key_env=KEY), config=config) as service:
                    routes = [await service.route("Small-1B", "Who?") for _ in range(2)]
                    left = {"cache": _bytes_of(folder, "cache.sqlite*")}
                left["cache"] += _bytes_of(folder, "cache.sqlite*")  # once more: closing moves what the WAL held
        left["trace"] = _bytes_of(folder, "trace.jsonl")
        left["reply"] = repr(routes).encode()
        found = sorted(place for place, written in left.items() if shares_a_piece(written.decode("latin-1")))
    return f"in {', '.join(found)}" if found else "in none", not found


@row(12, "ESC, C1, BEL and bidi controls in an error body", "in no error, in no log record")
async def control_characters(cap: float) -> Outcome:
    evil = "\x1b[2J\x1b]0;title\x07 \x9b31m \x00\x08\x7f \u202egnp.exe\u202c \u2066x\u2069 \u200fy"
    bodies = {
        status: response(status, {"error": {"message": evil}}) for status in (400, 403, 404, 422, 429, 500, 503)
    } | {0: response(200, {"choices": [{"message": {evil: evil, "content": None}}], "usage": evil})}
    raw = [response(status, evil.encode()) for status in (400, 402, 500)]
    seen: set[str] = set()
    with log_records() as records:
        for answer in [*bodies.values(), *raw]:
            config = RoutingConfig(retries=QUICK, breaker=NEVER_OPEN)
            async with (
                serving(always(answer)) as server,
                RouteService(pool_at(server.base_url), config=config) as service,
            ):
                seen |= controls((await service.route("Small-1B", "Who?")).error)
    logged = controls("".join(record.getMessage() for record in records))
    words = f"{len(seen)} kinds in errors, {len(logged)} in log records"
    return words, not seen and not logged


@row(13, "thoughts without a word, queries that only name the candidate", "check_format finds a fault in each")
async def empty_thoughts(cap: float) -> Outcome:
    from router_r1.protocol import render_answer, render_search, render_think
    from router_r1.rewards.format import check_format
    from tests.unit.rewards.trajectories import TELL, routed, said, trajectory

    name = "Qwen2.5-7B-Instruct"
    pool = pool_at("http://127.0.0.1:9/v1", name, aliases=("qwen-7b",))
    thoughts = ["。。。", "\u200b\u200d", "\ufeff", "…⋯", "---", "\u2060.\u2060", "？！", "- - -", "\u00ad", "・・・"]
    asked = [f"{name} {name}", f"'{name}'", f'"{name}"', f"“{name}”", f"`{name}`", f"{name}: {name}", f"({name})",
             f"{name}, {name}.", f"qwen-7b {name}", f"**{name}**"]  # fmt: skip
    answers = {thought: said(render_think(thought) + render_answer("x")) for thought in thoughts}
    passed = [thought for thought, turn in answers.items() if not check_format(trajectory(turn), pool)]
    for query in asked:
        turn = routed(render_think("hm") + render_search(name, query), to=name)
        passed += [query] if not check_format(trajectory(turn, said(TELL)), pool) else []
    total = len(thoughts) + len(asked)
    return f"{len(passed)} of {total} pass{': ' + ', '.join(map(ascii, passed[:3])) if passed else ''}", not passed


@row(14, "one 429 with Retry-After 5 beside 31 good routes, ten times", "each of the others under 1 s")
async def one_throttled_route(cap: float) -> Outcome:
    variants = {"one candidate": (1, 32), "one, 4 in flight": (1, 4), "eight, 2 in flight each": (8, 2)}
    worst = await asyncio.gather(*(_worst_of_others(*variant, cap) for variant in variants.values()))
    told = (
        f"{name} {w:.2f} s" if w < cap else f"{name} still waiting after {cap:.0f} s"
        for name, w in zip(variants, worst, strict=True)
    )
    return "; ".join(told), max(worst) < 1


@row(15, "an answer that comes twice, the second time when nobody waits", "no reply of another query")
async def repeated_answer(cap: float) -> Outcome:
    wrong = 0
    async with repeating() as base_url, RouteService(pool_at(base_url)) as service:
        for i in range(20):
            route = await service.route("Small-1B", f"{i}?")
            wrong += not route.failed and route.reply != f"reply to {i}?"
            await asyncio.sleep(2 * REPEATED_AFTER_S)
    return f"{wrong} of 20 routes got another's reply", not wrong


@row(16, "the service is closed while routes wait: Retry-After 30, a server that is down", "all end within 1 s")
async def closed_while_waiting(cap: float) -> Outcome:
    words, is_ok = [], True
    async with serving(throttled("30")) as server:
        for what, base_url in (("backing off", server.base_url), ("an open breaker", "http://127.0.0.1:1/v1")):
            service = RouteService(pool_at(base_url))
            asking = asyncio.create_task(ask_all(service, queries(4), cap / 2))
            await asyncio.sleep(0.5)
            await service.aclose()
            started = time.monotonic()
            asked = await asking
            took = time.monotonic() - started
            words.append(f"{what}: {asked.waiting} still waiting" if asked.waiting else f"{what}: {took:.1f} s")
            is_ok &= not asked.waiting and took < 1
    return "; ".join(words), is_ok


# ---------------------------------------------------------------- parts of rows


async def _worst_of_others(candidates: int, max_concurrency: int, cap: float) -> float:
    """The longest wait, over ten rounds in one service, of a route that got no 429 itself, in seconds.

    In each round one of 32 routes, always to the first candidate, is refused once; the orders of arrival differ. The
    others are spread over the candidates: over eight of them, every fifth answer of the first is a 429, from a window
    that reaches over several rounds. Which route is refused goes by its query, so that the one that has to wait is
    never counted among the others.
    """
    refused: set[str] = set()
    draw = random.Random(14)

    async def behave(number: int, request: Request) -> bytes | None:
        if "refused" in request.query and request.query not in refused:
            refused.add(request.query)
            return response(429, {}, retry_after="5")
        return await healthy(number, request)

    worst, deadline = 0.0, time.monotonic() + cap
    async with serving(behave) as server:
        names = [f"C{i}" for i in range(candidates)]
        async with RouteService(pool_at(server.base_url, *names, max_concurrency=max_concurrency)) as service:
            for turn in range(10):
                others = [(names[i % candidates], f"{turn}.{i}?") for i in range(1, 32)]
                draw.shuffle(others)
                before = draw.randint(1, 30)
                first = asyncio.create_task(ask_all(service, others[:before], deadline - time.monotonic()))
                one = asyncio.create_task(service.route(names[0], f"{turn} refused?"))
                rest = asyncio.create_task(ask_all(service, others[before:], deadline - time.monotonic()))
                for asked in (await first, await rest):
                    worst = max(worst, cap if asked.waiting else asked.longest_s)
                await one
    return worst


REPEATED_AFTER_S = 0.02


@asynccontextmanager
async def repeating() -> AsyncIterator[str]:
    """A server that sends every answer once more, a little later, over the same connection; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                asked = json.loads(await reader.readexactly(int(head.split(b"content-length:")[1].split()[0])))
                for _ in range(2):
                    writer.write(completion(f"reply to {asked['messages'][0]['content']}", USAGE))
                    await asyncio.sleep(REPEATED_AFTER_S)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"


class RefusingServer(CandidateServer):
    """Knows the key for so many requests only; a refusal takes long enough for what was answered to be worked on."""

    def __init__(self, known: int) -> None:
        super().__init__()
        self._known = known

    def reply(self, request: dict[str, Any]) -> tuple[int, Any]:
        if len(self.requests) <= self._known:
            return super().reply(request)
        if self._known:
            time.sleep(0.5)
        return 401, {"error": {"message": "no such key"}}


async def _run(*words: str, cwd: Path, within_s: float) -> tuple[int | None, list[str]]:
    """Exit code (None: killed when the time was up) of a command of the project, and what it says on standard error
    besides its progress.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router_r1", *words),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", KEY: SECRET},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within_s):
            _, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None, []
    return process.returncode, [line for line in err.decode().splitlines() if line.strip() and "━" not in line]


RETRY_AFTERS = [
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "Mon, 01 Jan 0001 00:00:00 +0100",
    "Wed, 21 Oct 2026 07:28:10 +9999",
    "Wed, 21 Oct 2026 07:28:10 -9999",
    "Wed, 21 Oct 2026 07:28:10 +99999999999",
    "Wed, 21 Oct 2026 25:61:61 GMT",
    "Wed, 21 Oct " + "9" * 30 + " 07:28:10 GMT",
    "Wed, " + "2" * 5000 + " Oct 2026 07:28:10 GMT",
    "Wed, 21 Oct 2026 07:28:10 +" + "9" * 5000,
    "1" * 5000,
    "-" + "1" * 5000,
    "1e999",
    "0x10",
    "1_000",
    "١٢",
    "inf",
    "nan",
    "Wed",
    "Wed,",
    ",",
    ", ,",
    "0 0 0 0:0:0 0",
    "\x80\xff",
    "soon " * 1000,
]
ODD_LINES = [
    b"retry-after: \xff\xfe",
    b"retry-after: 1\r\nretry-after: never",
    b"\xffodd: 1",
    b": nameless",
    b"no colon",
    b"a b: 1",
    b"x" * 300 + b": 1",
    b"folded: a\r\n b\r\n\tc",
    b"big: " + b"v" * 100_000,
    b"content-length: 5",
    b"content-length: -1",
    b"content-length: 1e3",
    b"content-length: " + b"9" * 5000,
    b"transfer-encoding: chunked",
    b"transfer-encoding: identity, chunked",
    b"content-encoding: gzip",
    b"content-encoding: deflate",
    b"content-encoding: br",
    b"content-encoding: zstd",
    b"content-encoding: \xff",
    b"set-cookie: \x01=;;;\xff",
    b"content-type: \xff; charset=\x80",
    b"content-type: text/html; charset=no-such",
    b"connection: upgrade",
    b"upgrade: \xff",
    b"location: http://[::",
    b"link: <\xff>; rel=",
    b"x: \x00",
    b"x: \r",
    b"x: \x1b[2J",
]


def _odd_response(draw: random.Random) -> bytes:
    """A response with one to three headers that are odd, and a good body."""
    content = json.dumps({"choices": [{"message": {"content": "yes"}}], "usage": USAGE}).encode()
    status = draw.choice([b"200", b"200", b"200", b"429", b"503", b"401", b"101", b"204", b"301", b"304", b"999", b"0"])
    lines = draw.sample(ODD_LINES, draw.randint(1, 3))
    if draw.random() < 0.5:
        lines.append(b"content-length: %d" % len(content))
    draw.shuffle(lines)
    return b"HTTP/1.1 " + status + b" X\r\nconnection: close\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + content


async def _raised_in_route(answer: bytes) -> list[str]:
    """What a route against a server that always says this raises, by name: nothing, if all is well."""
    async with serving(always(answer)) as server:
        pool = pool_at(server.base_url, timeout_s=0.5)
        async with RouteService(pool, config=RoutingConfig(retries=QUICK, breaker=NEVER_OPEN)) as service:
            asked = await ask_all(service, [("Small-1B", "Who?")], 5.0)
    return [type(fault).__name__ for fault in asked.raised] + ["no end"] * asked.waiting


async def _raised_in_preflight(answer: bytes) -> list[str]:
    async with serving(always(answer)) as server:
        try:
            await preflight(pool_at(server.base_url), timeout_s=0.1)
        except ConfigError:
            return []
        except Exception as fault:
            return [type(fault).__name__]
    return []


async def _headers_sent(host: str) -> tuple[list[Request], list[BaseException]]:
    """The requests of one route without and one with a key to a server at this address."""
    raised: list[BaseException] = []
    async with serving(healthy, host) as server:
        for variable in (None, KEY):
            with environment(**{KEY: SECRET}):
                async with RouteService(pool_at(server.base_url, api_key_env=variable)) as service:
                    raised += (await ask_all(service, [("Small-1B", "Who?")], 10.0)).raised
        return server.requests, raised


def _write_netrc(folder: str, host: str) -> Path:
    file = Path(folder, ".netrc")
    file.write_text(f"machine {host} login me password netrc-pass\ndefault login me password netrc-pass\n")
    file.chmod(0o600)
    return file


def _carries_password(request: Request) -> bool:
    told = f"{request.headers.get('authorization', '')} {request.headers.get('proxy-authorization', '')}"
    return base64.b64encode(b"me:netrc-pass").decode() in told or "netrc-pass" in told


def _bytes_of(folder: str, pattern: str) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(Path(folder).glob(pattern)))


def own_address() -> str:
    """An address of this machine that is not loopback; "" if it has none."""
    addresses = [entry for entries in psutil.net_if_addrs().values() for entry in entries]
    v4 = (entry.address for entry in addresses if entry.family == socket.AF_INET)
    return next((address for address in v4 if not address.startswith("127.")), "")


def shares_a_piece(text: str, size: int = 8) -> bool:
    """Whether a piece of the key stands in the text."""
    return any(SECRET[i : i + size] in text for i in range(len(SECRET) - size + 1))


def controls(text: str) -> set[str]:
    """The control, format and bidi characters of a text."""
    return {ch for ch in text if unicodedata.category(ch) in ("Cc", "Cf")}


@contextmanager
def log_records() -> Iterator[list[logging.LogRecord]]:
    """What the project logs meanwhile, at DEBUG."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger("router_r1"), Keep()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


# ---------------------------------------------------------------- the table


async def measured(row: Row, cap: float) -> Outcome:
    try:
        async with asyncio.timeout(1.5 * cap):  # rows stop waiting by themselves; this is for those that cannot
            return await row.measure(cap)
    except TimeoutError:
        return f"still waiting after {1.5 * cap:.0f} s", False
    except Exception as fault:
        return f"raised {type(fault).__name__}: {str(fault)[:200]}", False


def show(*cells: str) -> None:
    """One line of the table, wrapped within its columns."""
    widths = (2, 34, 46, 28, 6)
    wrapped = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        print("  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="rows to measure (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--cap", type=float, default=120.0, help="longest wait of a row in seconds (default: 120)")
    arguments = parser.parse_args()
    if unknown := set(arguments.numbers) - set(ROWS):
        parser.error(f"no row {', '.join(map(str, sorted(unknown)))}; there are 1 to {len(ROWS)}")
    logging.getLogger("router_r1").addHandler(logging.NullHandler())
    logging.getLogger("router_r1").propagate = False
    show("", "what happens", "measured", "must be", "")
    table = []
    for number in sorted(set(arguments.numbers) or ROWS):
        entry, started = ROWS[number], time.monotonic()
        words, is_ok = asyncio.run(measured(entry, arguments.cap))
        seconds = time.monotonic() - started
        show(str(number), entry.what, words, entry.must_be, "ok" if is_ok else "MISSED")
        told = {"number": number, "what": entry.what, "measured": words, "must_be": entry.must_be, "ok": is_ok}
        table.append({**told, "seconds": round(seconds, 1)})
        if arguments.json:
            arguments.json.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    return 0 if all(line["ok"] for line in table) else 1


if __name__ == "__main__":
    sys.exit(main())
