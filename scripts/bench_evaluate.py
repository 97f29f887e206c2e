#!/usr/bin/env python3
"""How close a benchmark comes to its bound: no trajectory waits for another, so none is slower than it is alone.

Questions with 0 to 4 routes each go through the benchmark's own runner, loop and route service to the simulated pool
over real HTTP, with log-normal latencies. The policy is a script, so that the time is that of everything around it.
The bound is the larger of

    the longest single trajectory, run once more all alone, and
    the same questions with no latency at all: what loop, tokenizer, HTTP clients and server themselves need.

    python scripts/bench_evaluate.py [--questions 500] [--median_s 0.6] [--sigma 0.8] [--seed 0]
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import io
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from router_r1 import protocol
from router_r1.benchmark.questions import PromptedQuestion
from router_r1.benchmark.records import Record
from router_r1.benchmark.runner import roll_out_all
from router_r1.datasets import Question
from router_r1.pool import RoutingPool, load_pool
from router_r1.project_files import pool_file
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Generation
from router_r1.rollout.tokens import encode_prompt
from router_r1.routing import RouteService
from router_r1.sim.server.process import pool_server
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.world.facts import Shares, World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALLOWED_RATIO = 1.15
_LONGEST = 5  # alone, once more: queueing inflates latencies, so the longest in company need not be the longest alone


class ScriptedRouter:
    """Asks one candidate after another, as often as the seed says, then answers. Satisfies `runner.Router`."""

    def __init__(self, pool: RoutingPool, service: RouteService, seed: int) -> None:
        self.pool, self._service, self._seed = pool, service, seed
        self._tokenizer = shipped_tokenizer()
        self._turns: Counter[str] = Counter()  # by request_id

    async def answer(self, asked: PromptedQuestion, request_id: str) -> protocol.Trajectory:
        return await run_trajectory(
            encode_prompt(self._tokenizer, asked.messages),
            policy=self,
            dispatcher=self._service,
            pool=self.pool,
            tokenizer=self._tokenizer,
            limits=RolloutLimits(),
            request_id=request_id,
        )

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """The next turn."""
        turn = self._turns[request_id]
        self._turns[request_id] += 1
        return Generation(script(self._seed, request_id, self.pool.names)[turn], "stop")


@functools.cache  # the first run, the one without latency, makes the scripts: an engine computes elsewhere
def script(seed: int, request_id: str, names: tuple[str, ...]) -> list[list[int]]:
    """The turns of a trajectory, as ids."""
    draw = random.Random(f"{seed}:{request_id}")
    routes = [draw.choice(names) for _ in range(draw.randint(0, 4))]
    actions = [
        protocol.render_search(name, f"What do you know of {request_id}, part {turn}?")
        for turn, name in enumerate(routes)
    ]
    actions.append(protocol.render_answer("nothing"))
    tokenizer = shipped_tokenizer()
    return [
        tokenizer.encode(f"{protocol.render_think('Next.')} {action}", add_special_tokens=False) for action in actions
    ]


@functools.cache
def shipped_tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(SHIPPED_POLICY)


@dataclass(frozen=True)
class Timing:
    wall_s: float
    records: list[Record]


async def timed(pool: RoutingPool, questions: Sequence[PromptedQuestion], seed: int) -> Timing:
    async with RouteService(pool) as service:
        router = ScriptedRouter(pool, service, seed)
        started = time.monotonic()
        records = await roll_out_all(router.answer, pool, [(q, 0) for q in questions], io.StringIO(), lambda _: None)
        return Timing(time.monotonic() - started, records)


def measure(questions: Sequence[PromptedQuestion], seed: int, median_s: float, sigma: float, *, alone: bool) -> Timing:
    """One run against a pool server of its own.

    Args:
        alone: one question after another; the wall time is that of the longest.
    """
    pool = load_pool(pool_file("sim"), base_url="http://127.0.0.1:1/v1")
    latencies = [word for name in pool.names for word in ("--latency", f"{name}={1000 * median_s},{sigma}")]
    with (
        tempfile.TemporaryDirectory() as folder,
        pool_server(Path(folder, "pool.log"), seed=seed, latency_scale=float(median_s > 0), options=latencies) as url,
    ):
        pool = load_pool(pool_file("sim"), base_url=url)
        wide = [c.model_copy(update={"max_concurrency": 10_000}) for c in pool.candidates]
        pool = RoutingPool(name=pool.name, candidates=tuple(wide))
        if not alone:
            return asyncio.run(timed(pool, questions, seed))
        runs = [asyncio.run(timed(pool, [question], seed)) for question in questions]
        return max(runs, key=lambda run: run.wall_s)


def make_questions(n: int, seed: int) -> list[PromptedQuestion]:
    asked = World(seed).generate("val", n, seed, Shares(two_hop=0.4, three_hop=0, known=0))
    return [
        PromptedQuestion(
            Question(str(i), q.text, tuple(q.golden_answers)),
            "bench",
            "bench",
            i,
            [{"role": "user", "content": q.text}],
            f"row {i}",
        )
        for i, q in enumerate(asked)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--median_s", type=float, default=0.6)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    questions = make_questions(options.questions, options.seed)
    given = (options.seed, options.median_s, options.sigma)

    busy = measure(questions, options.seed, 0.0, options.sigma, alone=False)
    together = measure(questions, *given, alone=False)
    slowest = sorted(together.records, key=lambda record: record["latency_s"])[-_LONGEST:]
    alone = measure([questions[record["index"]] for record in slowest], *given, alone=True)

    bound = max(busy.wall_s, alone.wall_s)
    ratio = together.wall_s / bound
    routes = [record["routes"] for record in together.records]
    failed = sum(record["failed_routes"] for record in together.records)
    told = f"{sum(routes)} routes (0 to {max(routes)} each), {failed} failed"
    print(f"questions                    {len(questions)}, {told}")
    print(f"sum of all trajectories      {sum(record['latency_s'] for record in together.records):8.2f} s")
    print(f"wall time                    {together.wall_s:8.2f} s")
    print(f"longest trajectory alone     {alone.wall_s:8.2f} s")
    print(f"no latency at all            {busy.wall_s:8.2f} s")
    print(f"wall time / bound            {ratio:8.3f}  (at most {ALLOWED_RATIO})")
    return 0 if ratio <= ALLOWED_RATIO and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
