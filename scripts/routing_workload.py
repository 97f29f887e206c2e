"""The workload of bench_routing.py, the servers it asks, and the baseline with threads and barriers."""

from __future__ import annotations

import asyncio
import heapq
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from router_r1.pool import EndpointLimits, RoutingPool, load_pool
from router_r1.protocol import Route
from router_r1.routing import RouteService
from router_r1.sim.server.process import pool_server
from router_r1.sim.world.candidates import PROFILES, SimulatedPool
from router_r1.sim.world.facts import World

ROOT = Path(__file__).resolve().parents[1]
GENERATION_S = 0.05
MEDIAN_MS, SIGMA = 600.0, 0.8
TIMEOUT_S = 10.0
POOL = SimulatedPool(World(0), latencies=dict.fromkeys(PROFILES, (MEDIAN_MS, SIGMA)))
Plan = list[tuple[str, str]]  # one trajectory: (candidate, query) of each route


def make_plans(n: int, seed: int = 0, names: Sequence[str] = tuple(PROFILES)) -> list[Plan]:
    """`n` trajectories of 0 to 4 routes; no query is asked twice."""
    draw = random.Random(seed)
    return [
        [(draw.choice(names), f"question {seed}.{i}.{k}: who wrote book number {draw.randrange(10**9)}?")
         for k in range(draw.randint(0, 4))]
        for i in range(n)
    ]  # fmt: skip


def serial_s(plan: Plan) -> float:
    """What a trajectory takes all alone."""
    return sum(POOL.latency_s(*route) for route in plan) + GENERATION_S * (len(plan) + 1)


async def roll_out(service: RouteService, plan: Plan, number: int) -> list[Route]:
    routes = []
    for candidate, query in plan:
        await asyncio.sleep(GENERATION_S)
        routes.append(await service.route(candidate, query, trajectory_id=str(number)))
    await asyncio.sleep(GENERATION_S)
    return routes


async def roll_out_all(service: RouteService, plans: Sequence[Plan]) -> tuple[list[list[Route]], float]:
    """All trajectories at once; their routes, and the wall time in seconds."""
    started = time.monotonic()
    routes = await asyncio.gather(*(roll_out(service, plan, i) for i, plan in enumerate(plans)))
    return routes, time.monotonic() - started


def ideal_wall(plans: Sequence[Plan], c: int) -> float:
    """Wall time of a scheduler that costs nothing, asks in order of arrival and keeps `c` routes in flight.

    It does not know which replies will be slow, so that it, too, may start one of them last.
    """
    free, now = c, 0.0
    waiting: deque[tuple[int, int]] = deque()  # (trajectory, route)
    events = [(GENERATION_S, False, i, 0) for i in range(len(plans))]  # (time, a reply came, trajectory, route)
    heapq.heapify(events)
    while events:
        now, replied, i, k = heapq.heappop(events)
        if replied:
            free += 1
            heapq.heappush(events, (now + GENERATION_S, False, i, k + 1))
        elif k < len(plans[i]):
            waiting.append((i, k))
        while free and waiting:
            i, k = waiting.popleft()
            free -= 1
            heapq.heappush(events, (now + POOL.latency_s(*plans[i][k]), True, i, k))
    return now


def with_barriers(base_url: str, plans: Sequence[Plan], threads: int = 10) -> float:
    """The baseline: all generate, all routes of the turn go through a thread pool, all wait for the last; wall time."""
    import openai

    client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=2, timeout=60)
    models = {name: name.casefold() for name in PROFILES}

    def ask(route: tuple[str, str]) -> None:
        messages = [{"role": "user", "content": route[1]}]
        client.chat.completions.create(model=models[route[0]], messages=messages, temperature=0, max_tokens=128)

    started = time.monotonic()
    with ThreadPoolExecutor(threads) as executor:
        for turn in range(5):
            time.sleep(GENERATION_S)
            list(executor.map(ask, [plan[turn] for plan in plans if len(plan) > turn]))
    client.close()
    return time.monotonic() - started


# ---------------------------------------------------------------- servers and pools


@contextmanager
def sim_server(*options: str) -> Iterator[str]:
    """The simulated pool in a process of its own; its base URL."""
    with tempfile.TemporaryDirectory() as folder:
        latencies = [word for name in PROFILES for word in ("--latency", f"{name}={MEDIAN_MS},{SIGMA}")]
        with pool_server(Path(folder, "server.log"), options=[*latencies, *options]) as base_url:
            yield base_url


def sim_pool(base_url: str, *, max_concurrency: int = 100_000, together: int | None = None) -> RoutingPool:
    """The shipped pool at this address, its limits lifted; `together` limits the endpoint as a whole."""
    pool = load_pool(ROOT / "configs/pools/sim.yaml", base_url=base_url)
    candidates = tuple(
        c.model_copy(update={"max_concurrency": max_concurrency, "timeout_s": TIMEOUT_S * 6}) for c in pool.candidates
    )
    limits = (EndpointLimits(base_url=base_url, max_concurrency=together),) if together else ()
    return pool.model_copy(update={"candidates": candidates, "endpoint_limits": limits})


def _raw_server(port: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """A server that costs as little as one can: it reads a request and answers with fixed bytes after 0 or 3 s."""
    body = json.dumps({
        "choices": [{"message": {"role": "assistant", "content": "The answer is Ada Lovelace."}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 6},
    }).encode()  # fmt: skip
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                sent = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                if b"slow" in sent:
                    await asyncio.sleep(3)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def raw_server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue = context.Queue()  # type: ignore[type-arg]
    process = context.Process(target=_raw_server, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}/v1"
    finally:
        process.terminate()
        process.join()
