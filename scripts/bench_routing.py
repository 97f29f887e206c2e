"""Measures the route service over real HTTP against the simulated pool, and a thread pool with barriers beside it.

    python scripts/bench_routing.py                      everything (about ten minutes)
    python scripts/bench_routing.py wall cpu --scale 0.1 some sections, a tenth of the size

The workload: 0 to 4 routes per trajectory, 50 ms per generation, log-normal latencies with a median of 0.6 s and sigma
0.8, so that replies take 0.83 s on average. The server runs in a process of its own; CPU time and memory are those of
this process, the client's side. A line says what was measured, the figure, and the limit it should keep.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import psutil
import yaml
from routing_workload import (
    MEDIAN_MS,
    POOL,
    ROOT,
    TIMEOUT_S,
    Plan,
    ideal_wall,
    make_plans,
    raw_server,
    roll_out,
    roll_out_all,
    serial_s,
    sim_pool,
    sim_server,
    with_barriers,
)

from router_r1.atomic import write_text
from router_r1.errors import ConfigError
from router_r1.pool import Candidate, spend
from router_r1.protocol import Route
from router_r1.routing import RouteService, RoutingConfig
from router_r1.routing.preflight import preflight
from router_r1.routing.replies import estimate_tokens
from router_r1.sim.server.faults import Fault, FaultPlan
from router_r1.sim.world.candidates import PROFILES, count_tokens


def report(what: str, value: str, limit: str = "", ok: bool | None = None) -> None:
    mark = "" if ok is None else ("  ok" if ok else "  MISSED")
    print(f"  {what:<66} {value:>16}  {limit}{mark}", flush=True)


def peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- sections


async def wall(scale: float) -> None:
    """Wall time over lower bound, and the barrier baseline."""
    with sim_server() as base_url:
        for n in (64, 256, 1024):
            plans = make_plans(max(8, int(n * scale)), seed=n)
            longest = max(map(serial_s, plans))
            async with RouteService(sim_pool(base_url)) as service:
                routes, took = await roll_out_all(service, plans)
            assert not any(route.failed for row in routes for route in row)
            report(f"{len(plans)} trajectories: wall / longest trajectory ({longest:.1f} s)",
                   f"{took / longest:.3f}", "<= 1.10", took / longest <= 1.10)  # fmt: skip
        for c, n in ((32, 1024), (64, 2048)):
            plans = make_plans(max(8, int(n * scale)), seed=c)
            c = max(2, int(c * scale))
            total = sum(POOL.latency_s(*route) for plan in plans for route in plan)
            bound = max(*map(serial_s, plans), total / c)
            async with RouteService(sim_pool(base_url, together=c)) as service:
                _, took = await roll_out_all(service, plans)
            report(f"{len(plans)} trajectories, at most {c} in flight: wall / bound ({bound:.1f} s)",
                   f"{took / bound:.3f}", "<= 1.15", took / bound <= 1.15)  # fmt: skip
            report("  the same of a scheduler without any overhead", f"{ideal_wall(plans, c) / bound:.3f}")
        for n in (64, 256):
            plans = make_plans(max(8, int(n * scale)), seed=n)
            longest = max(map(serial_s, plans))
            took = await asyncio.to_thread(with_barriers, base_url, plans)
            report(f"baseline, ten threads and a barrier per turn, {len(plans)}: wall / longest",
                   f"{took / longest:.3f}")  # fmt: skip


async def cpu(scale: float) -> None:
    """CPU time and memory of the client's side."""
    with raw_server() as base_url:
        async with RouteService(sim_pool(base_url)) as service:
            await service.route("Pico-1B", "hello?")
            for label, config in (("bare", RoutingConfig()), ("cache, trace and texts", _all_on())):
                async with RouteService(sim_pool(base_url), config=config) as measured:
                    await asyncio.gather(*(measured.route("Pico-1B", f"w{i}?") for i in range(64)))
                    for in_flight in (64, 512):
                        cost, rate = await _cpu_per_route(measured, max(200, int(4000 * scale)), in_flight)
                        report(f"CPU per route, {in_flight} in flight, {label}", f"{cost * 1e3:.2f} ms", "<= 2 ms",
                               cost <= 2e-3)  # fmt: skip
                        report("  routes per second of this process", f"{rate:.0f}")
        before, n = peak_rss_mb(), max(50, int(2000 * scale))
        async with RouteService(sim_pool(base_url)) as service:
            routes = await asyncio.gather(*(service.route("Pico-1B", f"slow {i}?") for i in range(n)))
        failed = sum(route.failed for route in routes)
        report(f"{n} routes in flight at once: failed", str(failed), "0", failed == 0)
        report("  memory on top", f"{peak_rss_mb() - before:.0f} MB", "< 300 MB", peak_rss_mb() - before < 300)


async def _cpu_per_route(service: RouteService, n: int, in_flight: int) -> tuple[float, float]:
    """(CPU seconds per route, routes per second)."""
    numbers = iter(range(n))

    async def worker() -> None:
        for i in numbers:
            await service.route("Pico-1B", f"who was number {in_flight}.{i}?")

    cpu_started, started = time.process_time(), time.monotonic()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return (time.process_time() - cpu_started) / n, n / (time.monotonic() - started)


def _all_on() -> RoutingConfig:
    folder = Path(tempfile.mkdtemp(prefix="bench_routing_"))
    return RoutingConfig(
        cache="readwrite", cache_file=str(folder / "c.sqlite"), trace_file=str(folder / "t.jsonl"), trace_texts=True
    )


MIX = {
    Fault.RATE_LIMIT: 0.05,
    Fault.SERVER_ERROR: 0.05,
    Fault.RESET: 0.02,
    Fault.TRUNCATED: 0.01,
    Fault.NULL_CONTENT: 0.01,
    Fault.HANG: 0.01,
}


async def faults(scale: float) -> None:
    """5 % 429, 5 % 500, 2 % resets, 2 % malformed, 1 % hangs, all together; and a wrong key."""
    plans = make_plans(max(20, int(1000 * scale)), seed=7)
    plan = FaultPlan(seed=1, shares=MIX, retry_after_s=0.5)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "faults.yaml")
        write_text(file, yaml.safe_dump(plan.model_dump(mode="json")))
        walls = {}
        for name, options in (("without", []), ("with", ["--faults", str(file)])):
            with sim_server(*options) as base_url:
                pool = sim_pool(base_url)
                candidates = tuple(c.model_copy(update={"timeout_s": TIMEOUT_S}) for c in pool.candidates)
                pool = pool.model_copy(update={"candidates": candidates})
                async with RouteService(pool) as service:
                    routes, walls[name] = await roll_out_all(service, plans)
                    spent, account = service.ledger.spent_usd, service.ledger.total()
    flat = [route for row in routes for route in row]
    wrong = sum(route.reply != POOL.reply(route.candidate, route.query) for route in flat if not route.failed)
    failed = sum(route.failed for route in flat)
    asked = sum(len(plan) for plan in plans)
    report(f"routes that ended, of {asked} ({account.requests} requests)", str(len(flat)), str(asked),
           len(flat) == asked)  # fmt: skip
    report("  failed after all attempts", str(failed))
    report("  with another's reply", str(wrong), "0", wrong == 0)
    expected = sum((_cost_under(plan, pool.candidate(r.candidate), r) for r in flat), Decimal(0))
    report("  spend, against what the plan of faults makes it", f"{spent:f}", f"{expected:f}", spent == expected)
    bound = 1.5 * walls["without"] + TIMEOUT_S
    report(f"  wall (without faults {walls['without']:.1f} s)", f"{walls['with']:.1f} s", f"<= {bound:.1f} s",
           walls["with"] <= bound)  # fmt: skip
    await _wrong_key()


def _cost_under(plan: FaultPlan, candidate: Candidate, route: Route) -> Decimal:
    """What a route's attempts cost: replies without text are charged, broken ones bring no bill."""
    said = POOL.reply(route.candidate, route.query)
    one = spend(candidate, count_tokens(route.query), count_tokens(said))
    fates = [plan.fault(candidate.model, route.query, k) for k in range(route.attempts)]
    unbilled = spend(candidate, estimate_tokens(route.query), estimate_tokens(said))
    costs = {None: one, Fault.NULL_CONTENT: one, Fault.NO_CHOICES: one, Fault.NO_USAGE: unbilled}
    return sum((costs.get(fate, Decimal(0)) for fate in fates), Decimal(0))


async def _wrong_key() -> None:
    os.environ["BENCH_SERVER_KEY"], os.environ["BENCH_CLIENT_KEY"] = "the-right-one", "another-one"
    with sim_server("--api-key-env", "BENCH_SERVER_KEY") as base_url:
        pool = sim_pool(base_url)
        keyed = tuple(c.model_copy(update={"api_key_env": "BENCH_CLIENT_KEY"}) for c in pool.candidates)
        started = time.monotonic()
        try:
            await preflight(pool.model_copy(update={"candidates": keyed}))
            line = "the preflight found nothing"
        except ConfigError as fault:
            line = str(fault)
    took = time.monotonic() - started
    report("wrong key: time until the preflight ends the run", f"{took:.2f} s", "< 5 s", took < 5 and "\n" not in line)
    print(f"    {line}")


async def cache(scale: float) -> None:
    """A second identical run; GRPO's repeated questions; two processes on one file."""
    with tempfile.TemporaryDirectory() as folder, sim_server() as base_url:
        config = RoutingConfig(cache="readwrite", cache_file=str(Path(folder, "c.sqlite")))
        plans = make_plans(max(16, int(256 * scale)), seed=3)
        runs = []
        for _ in range(2):
            async with RouteService(sim_pool(base_url), config=config) as service:
                routes, took = await roll_out_all(service, plans)
                runs.append(([[(r.candidate, r.query, r.reply, r.raw_cost) for r in row] for row in routes], took))
                requests = service.ledger.total().requests
        report("second identical run: requests", str(requests), "0", requests == 0)
        report("  trajectories alike", str(runs[0][0] == runs[1][0]), "True", runs[0][0] == runs[1][0])
        report("  wall", f"{runs[1][1]:.1f} s", f"({runs[0][1]:.1f} s)")
        config = config.model_copy(update={"cache_file": str(Path(folder, "grpo.sqlite"))})
        async with RouteService(sim_pool(base_url), config=config) as service:
            await roll_out_all(service, _peaked(max(8, int(64 * scale)), n=8))
            total = service.ledger.total()
        saved = total.shared + total.cached
        report(f"GRPO, n = 8, 80 % alike: of {total.started} routes shared in flight", str(total.shared))
        report("  answered from disk", str(total.cached))
        report("  requests saved", f"{saved / total.started:.0%}")
        await asyncio.to_thread(_two_writers, Path(folder, "two.sqlite"), max(2.0, 60 * scale))


def _peaked(questions: int, n: int) -> list[Plan]:
    """`n` trajectories per question by a policy that mostly asks the same."""
    draw = random.Random(11)
    return [
        [
            ("Omni-72B", f"question {q}.{k}, wording {0 if draw.random() < 0.8 else draw.randrange(1, 5)}?")
            for k in range(2)
        ]
        for q in range(questions)
        for _ in range(n)
    ]


_WRITER = """
import sys, time
from router_r1.routing.cache import CacheFile, Entry
from router_r1.routing.replies import Reply
path, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
file, end, count = CacheFile(path), time.monotonic() + seconds, 0
while time.monotonic() < end:
    file.put(Entry(f"{name}-{count}", "http://h/v1", "m", "q", Reply(f"text {name}-{count}", 1, 2, False)))
    count += 1
print(count)
"""


def _two_writers(path: Path, seconds: float) -> None:
    from router_r1.routing.cache import CacheFile

    commands = [[sys.executable, "-c", _WRITER, str(path), name, str(seconds)] for name in "ab"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for command in commands]
    counts = [int(writer.communicate()[0]) for writer in writers]
    file = CacheFile(path)
    lost = sum(
        (reply := file.get(f"{name}-{i}")) is None or reply.text != f"text {name}-{i}"
        for name, count in zip("ab", counts, strict=True)
        for i in range(count)
    )
    report(f"two processes wrote one cache for {seconds:.0f} s: replies", str(sum(counts)))
    report("  lost or damaged", str(lost), "0", lost == 0 and min(counts) > 0)


async def fairness(scale: float) -> None:
    """One candidate is 100 times slower; what of the trajectories that do not use it?"""
    slow, others = "Pico-1B", [name for name in PROFILES if name != "Pico-1B"]
    n = max(16, int(128 * scale))
    clean, slowed = make_plans(n, seed=21, names=others), make_plans(n, seed=22, names=[slow])
    walls = {}
    with sim_server("--latency", f"{slow}={MEDIAN_MS * 100},0.1") as base_url:
        for name, beside in (("alone", []), ("beside", slowed)):
            async with RouteService(sim_pool(base_url, max_concurrency=64)) as service:
                extra = [asyncio.create_task(roll_out(service, plan, i)) for i, plan in enumerate(beside)]
                _, walls[name] = await roll_out_all(service, clean)
                for task in extra:
                    task.cancel()
                await asyncio.gather(*extra, return_exceptions=True)
    ratio = walls["beside"] / walls["alone"]
    report(f"{n} trajectories beside {n} on a candidate 100 times slower: wall / alone", f"{ratio:.3f}", "about 1",
           ratio <= 1.1)  # fmt: skip


class _Nothing:
    async def call(self, query: str) -> str:
        return query


async def actor(scale: float) -> None:
    """What the Ray actor that the workers of a run share adds to a route."""
    import ray

    from router_r1.training.services import RouteActor

    n = max(50, int(500 * scale))
    with raw_server() as base_url:
        pool = sim_pool(base_url)
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            shared = RouteActor.remote(pool, RoutingConfig())  # type: ignore[attr-defined]
            nothing = ray.remote(num_cpus=0)(_Nothing).remote()
            async with RouteService(pool) as service:
                own = await _p50(lambda q: service.route("Pico-1B", q), n)
                empty = await _p50(lambda q: nothing.call.remote(q), n)
                rays = await _p50(lambda q: shared.route.remote("Pico-1B", q), n)
                report(f"an actor's method that does nothing, {PACE} calls a second: p50", f"{empty * 1e3:.1f} ms")
                report(f"the shared service, {PACE} routes a second (64 trajectories): added at p50",
                       f"{(rays - own) * 1e3:.1f} ms", "<= 5 ms", rays - own <= 5e-3)  # fmt: skip
            rate = await _rate(lambda q: shared.route.remote("Pico-1B", q), n)
            report("routes a second through it, saturated", f"{rate:.0f}")
        finally:
            ray.shutdown()


PACE = 75  # a second: what 64 trajectories of the workload ask


async def _p50(ask: Callable[[str], Awaitable[Route]], n: int) -> float:
    """Median latency in seconds of `n` routes that arrive at random, `PACE` a second."""
    draw = random.Random(5)

    async def timed(query: str) -> float:
        started = time.monotonic()
        await ask(query)
        return time.monotonic() - started

    tasks = []
    for i in range(n + PACE):
        tasks.append(asyncio.create_task(timed(f"{i}?")))
        await asyncio.sleep(draw.expovariate(PACE))
    return statistics.median((await asyncio.gather(*tasks))[PACE:])  # the first open the connections


async def _rate(ask: Callable[[str], Awaitable[Route]], n: int, in_flight: int = 32) -> float:
    """Routes per second, `in_flight` at all times."""
    numbers = iter(range(n))

    async def worker() -> None:
        for i in numbers:
            await ask(f"{i}?!")

    started = time.monotonic()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return n / (time.monotonic() - started)


SECTIONS = {section.__name__: section for section in (wall, cpu, faults, cache, fairness, actor)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of trajectories (default: 1)")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    logging.basicConfig(level=logging.ERROR)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    print(f"load average {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    for name in arguments.sections or SECTIONS:
        print(f"{name}: {(SECTIONS[name].__doc__ or '').strip()}", flush=True)
        asyncio.run(SECTIONS[name](arguments.scale))


if __name__ == "__main__":
    main()
