"""What bench_serve.py measures: a policy at a fixed pace, slow candidates, and the process of loop and server."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from routing_workload import POOL, sim_pool

from router_r1 import memory
from router_r1.prompts import render_messages
from router_r1.protocol import Route, render_answer, render_search, render_think
from router_r1.rollout.backends import OpenPolicy
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Generation
from router_r1.rollout.tokens import encode_prompt
from router_r1.router import Router, open_router
from router_r1.routing import RouteService
from router_r1.serving.app import Application
from router_r1.serving.keys import Keys
from router_r1.serving.live import reasoning_of
from router_r1.serving.options import ServingOptions
from router_r1.serving.process import Server, bind, run_server
from router_r1.serving.recording import open_store
from router_r1.settings import RouterOptions, make_settings
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.world.facts import Shares, World

_ALL_PLACES = 100_000


@dataclass(frozen=True)
class Pace:
    """How fast the scripted policy writes."""

    first_token_s: float = 0.3
    token_s: float = 0.05


AT_ONCE = Pace(0.0, 0.0)


@dataclass(frozen=True)
class Reply:
    """What came of one question, and when, in seconds from when it was asked."""

    reasoning: str
    content: str
    first_s: float
    """Until the first token, or the first text; NaN where nobody watched."""
    total_s: float


def numbered_questions(n: int) -> list[str]:
    return [f"Who wrote book number {i}?" for i in range(n)]


def world_questions(n: int) -> list[str]:
    return [question.text for question in World(0).generate("val", n, 0, Shares(two_hop=0.4, three_hop=0, known=0))]


def script(question: str, names: Sequence[str]) -> list[str]:
    """The turns of a question: 0 to 3 routes, each text with the question in it."""
    draw = random.Random(question)
    turns = [
        f"{render_think(f'{question} Step {turn}, somebody must know that, so I ask.')}\n"
        f"{render_search(draw.choice(names), f'{question} Part {turn}')}"
        for turn in range(draw.randint(0, 3))
    ]
    return [*turns, f"{render_think(f'Now I know: {question}')}\n{render_answer(f'The answer to {question}')}"]


class PacedPolicy:
    """Writes the script of whichever question its prompt asks, at a fixed pace; satisfies `StreamingPolicy`.

    It computes nothing: finding a script is one look into a table.
    """

    def __init__(self, scripts: dict[tuple[int, ...], list[list[int]]], pace: Pace) -> None:
        self._scripts, self._pace = scripts, pace
        self._left: dict[str, list[list[int]]] = {}  # turns to come, by request

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        turn = self._next(token_ids, request_id)
        await asyncio.sleep(self._pace.first_token_s + (len(turn) - 1) * self._pace.token_s)
        return Generation(turn, "stop")

    async def stream(
        self,
        token_ids: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
        told: Callable[[Sequence[int]], None],
    ) -> Generation:
        turn = self._next(token_ids, request_id)
        due = time.monotonic() + self._pace.first_token_s
        for token in turn:  # by the clock: a loop that is late does not slow the engine down
            await asyncio.sleep(due - time.monotonic())
            told([token])
            due += self._pace.token_s
        return Generation(turn, "stop")

    def _next(self, token_ids: Sequence[int], request_id: str) -> list[int]:
        if request_id not in self._left:
            self._left[request_id] = list(self._scripts[tuple(token_ids)])
        left = self._left[request_id]
        turn = left.pop(0)
        if not left:
            del self._left[request_id]
        return turn


class PacedRoutes(RouteService):
    """Candidates that need no HTTP: `bench_routing.py` measures that. Latencies are log-normal, 0.83 s on average."""

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        latency_s = POOL.latency_s(candidate, query)
        await asyncio.sleep(latency_s)
        return Route(candidate, query, f"I am told: {query}", completion_tokens=9, latency_s=latency_s)


# ---------------------------------------------------------------- routers


@asynccontextmanager
async def paced_router(questions: Sequence[str], pace: Pace, base_url: str | None) -> AsyncIterator[Router]:
    """A router whose policy and candidates are scripted; `base_url` asks candidates that are served there instead."""
    settings = make_settings(RouterOptions(model_path=str(SHIPPED_POLICY), pool="sim", template="tiny"))
    tokenizer, pool = load_tokenizer(str(SHIPPED_POLICY)), sim_pool(base_url or "http://127.0.0.1:1/v1")
    scripts = {}
    for question in questions:
        messages = render_messages(settings.template, pool, question, cost_weight=settings.cost_weight)
        turns = [tokenizer.encode(turn, add_special_tokens=False) for turn in script(question, pool.names)]
        scripts[tuple(encode_prompt(tokenizer, messages))] = turns
    async with (RouteService if base_url else PacedRoutes)(pool) as routes:
        policy = OpenPolicy(PacedPolicy(scripts, pace), str(SHIPPED_POLICY))
        yield Router(policy, routes, pool, settings, tokenizer)


@asynccontextmanager
async def engine_router() -> AsyncIterator[Router]:
    """The shipped tiny policy on vLLM, with the simulated pool."""
    options = RouterOptions(model_path=str(SHIPPED_POLICY), pool="sim", template="tiny")
    async with open_router(make_settings(options)) as router:
        yield router


# ---------------------------------------------------------------- the bare loop


async def bare_loop(router: Router, questions: Sequence[str], *, watched: bool) -> tuple[float, list[Reply]]:
    """All questions at once through `Router.roll_out`; wall time in seconds, and what came of them.

    Args:
        watched: the policy's tokens are heard of as they come, so that the first one's time is known.
    """

    async def one(number: int, question: str) -> Reply:
        first_s = float("nan")

        def told(_: Sequence[int]) -> None:
            nonlocal first_s
            if first_s != first_s:  # NaN
                first_s = time.monotonic() - started

        policy = _Watched(router.policy, told) if watched else None
        template, weight = router.settings.template, router.settings.cost_weight
        messages = render_messages(template, router.pool, question, cost_weight=weight)
        trajectory = await router.roll_out(messages, request_id=f"bare-{number}", policy=policy)
        total_s = time.monotonic() - started
        return Reply(reasoning_of(trajectory), trajectory.answer or "", first_s, total_s)

    started = time.monotonic()
    replies = await asyncio.gather(*(one(number, question) for number, question in enumerate(questions)))
    return time.monotonic() - started, replies


class _Watched:
    def __init__(self, policy: Any, told: Callable[[Sequence[int]], None]) -> None:
        self._policy, self._told = policy, told

    async def generate(self, token_ids: Sequence[int], **budget: Any) -> Generation:
        generation: Generation = await self._policy.stream(token_ids, told=self._told, **budget)
        return generation


# ---------------------------------------------------------------- the process


@dataclass(frozen=True)
class Setting:
    """What the process is to hold."""

    questions: Sequence[str]
    pace: Pace | None = Pace()
    """None for the tiny policy on vLLM."""
    base_url: str | None = None
    """Where the candidates are served; None for candidates that need no HTTP."""
    keep_mb: float | None = None
    """The most that the store of trajectories holds; None for the server's default."""


class Child:
    """The process with loop and server in it.

    Attributes:
        pid, port: of the server.
    """

    def __init__(self, pid: int, port: int, connection: Connection) -> None:
        self.pid, self.port, self._connection = pid, port, connection

    def bare(self, questions: Sequence[str], *, watched: bool) -> tuple[float, list[Reply]]:
        """See `bare_loop`; run in the same event loop as the server, which has nothing to do meanwhile."""
        self._connection.send((questions, watched))
        answer: tuple[float, list[Reply]] = self._connection.recv()
        return answer


@contextmanager
def child(setting: Setting) -> Iterator[Child]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(setting, theirs))
    process.start()
    theirs.close()
    try:
        assert process.pid is not None
        yield Child(process.pid, ours.recv(), ours)
    finally:
        ours.close()
        process.join(60)
        process.kill()


def _run(setting: Setting, connection: Connection) -> None:
    logging.basicConfig(level=logging.ERROR)
    run_server(_serve(setting, connection))


async def _serve(setting: Setting, connection: Connection) -> None:
    if setting.pace is None:
        opened = engine_router()
    else:
        opened = paced_router(setting.questions, setting.pace, setting.base_url)
    options = ServingOptions(max_concurrent=_ALL_PLACES, keep_mb=setting.keep_mb)
    with tempfile.TemporaryFile("w") as log:
        logger = logging.Logger("access", logging.INFO)
        logger.addHandler(logging.StreamHandler(log))
        async with opened as router:
            sock, ready = bind("127.0.0.1", 0), asyncio.Event()
            app = Application(router, options, Keys({}), logger, open_store(options))
            memory.settle()
            server = Server(app, drain_s=0, on_ready=ready.set)
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            await ready.wait()
            connection.send(sock.getsockname()[1])
            try:
                while True:
                    questions, watched = await asyncio.to_thread(connection.recv)
                    connection.send(await bare_loop(router, questions, watched=watched))
            except EOFError:
                server.should_exit = True
                await serving
