"""What the routes of a large run need: processes, sockets, provider limits, money; on paper, and queues simulated.

    python scripts/route_scaling.py [--gpus 64 1024 8192] [--cpu-ms 0.9] [...]

The paper part is Little's law. The simulation rolls out one step of one shard's trajectories, all started at once as a
trainer does, in front of a single-threaded service that takes `--cpu-ms` for each route, half of it before the request
is sent and half when the reply is read; it tells what queueing for that thread adds to a route. docs/scaling.md
discusses both, and says where the defaults come from.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from dataclasses import dataclass

_MAX_UTILISATION = 0.6  # of a shard's thread at the peak of a step; above it the queue grows fast


@dataclass(frozen=True)
class Workload:
    """What one rollout GPU and one route cost."""

    per_gpu: int  # trajectories in flight on one GPU
    routes: float  # per trajectory
    generation_s: float  # one turn of the policy
    median_s: float  # of a reply's log-normal latency
    sigma: float
    tokens_in: float  # per route
    tokens_out: float
    usd_in: float  # per 1M tokens
    usd_out: float
    saved: float  # share of the routes answered by cache or single flight
    rollout_share: float  # of a training step's time
    cpu_s: float  # of the service, per route

    @property
    def latency_s(self) -> float:
        """Mean latency of a reply."""
        return self.median_s * math.exp(self.sigma**2 / 2)

    @property
    def routes_per_s(self) -> float:
        """Routes of one GPU per second of rollout."""
        return self.per_gpu * self.routes / ((self.routes + 1) * self.generation_s + self.routes * self.latency_s)


def on_paper(gpus: int, w: Workload) -> dict[str, float]:
    """Needs at the peak of rollout, except money, which is per hour of the whole run."""
    rate = gpus * w.routes_per_s
    asked = rate * (1 - w.saved)
    usd_per_route = (w.tokens_in * w.usd_in + w.tokens_out * w.usd_out) / 1e6
    return {
        "trajectories in flight": gpus * w.per_gpu,
        "routes per second": rate,
        "shards": math.ceil(rate * w.cpu_s / _MAX_UTILISATION),
        "requests in flight (sockets)": asked * w.latency_s,
        "requests per minute": asked * 60,
        "tokens per minute": asked * 60 * (w.tokens_in + w.tokens_out),
        "USD per hour": asked * 3600 * w.rollout_share * usd_per_route,
    }


def simulate(trajectories: int, w: Workload, seed: int = 0) -> tuple[float, float, float]:
    """One step of one shard.

    Returns:
        Median and 99th percentile of what queueing adds to a route, in seconds, and the busiest second's utilisation.
    """
    draw = random.Random(seed)
    events: list[tuple[float, int, int, str, float]] = []  # time, tie-break, routes left, kind, waited
    for i in range(trajectories):
        left = round(draw.uniform(0, 2 * w.routes))
        heapq.heappush(events, (draw.expovariate(1 / w.generation_s), i, left, "send", 0.0))
    free_at, busy, added = 0.0, [0.0], []
    while events:
        now, i, left, kind, waited = heapq.heappop(events)
        if not left:
            continue
        start = max(now, free_at)
        free_at = start + w.cpu_s / 2
        busy += [0.0] * (int(start) + 1 - len(busy))
        busy[int(start)] += w.cpu_s / 2
        waited += start - now
        if kind == "send":
            latency = w.median_s * math.exp(w.sigma * draw.gauss(0, 1))
            heapq.heappush(events, (free_at + latency, i, left, "read", waited))
        else:
            added.append(waited)
            turn = draw.expovariate(1 / w.generation_s)
            heapq.heappush(events, (free_at + turn, i, left - 1, "send", 0.0))
    added.sort()
    return statistics.median(added), added[int(0.99 * len(added))], max(busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[64, 1024, 8192])
    defaults = {
        "per-gpu": 64, "routes": 2.0, "generation-s": 2.0, "median-s": 0.6, "sigma": 0.8, "tokens-in": 60.0,
        "tokens-out": 150.0, "usd-in": 0.6, "usd-out": 0.6, "saved": 0.0, "rollout-share": 0.5, "cpu-ms": 1.0,
    }  # fmt: skip
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"(default: {value})")
    given = vars(parser.parse_args())
    gpus = given.pop("gpus")
    workload = Workload(cpu_s=given.pop("cpu_ms") / 1e3, **given)
    columns = {n: on_paper(n, workload) for n in gpus}
    for n, needs in columns.items():
        p50, p99, busiest = simulate(math.ceil(n * workload.per_gpu / needs["shards"]), workload)
        needs |= {"simulated: added at p50, ms": p50 * 1e3, "simulated: added at p99, ms": p99 * 1e3}
        needs |= {"simulated: busiest second of a shard": busiest}
    print(f"{'GPUs of rollout':<40}" + "".join(f"{n:>16,}" for n in gpus))
    for key in columns[gpus[0]]:
        print(f"{key:<40}" + "".join(f"{_shown(columns[n][key]):>16}" for n in gpus))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
