"""A real server on a real socket, in the event loop of its test; a policy that says what it is told."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from router_r1.pool import load_pool
from router_r1.project_files import pool_file
from router_r1.rollout.backends import OpenPolicy
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.router import Router
from router_r1.routing import RouteService
from router_r1.routing.config import RoutingConfig
from router_r1.serving.app import Application
from router_r1.serving.fitted import NO_MORE, MoreMethods
from router_r1.serving.keys import Keys
from router_r1.serving.options import ServingOptions
from router_r1.serving.process import Server, bind
from router_r1.serving.recording import open_store
from router_r1.settings import RouterOptions, make_settings
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from router_r1.sim.world.candidates import SimulatedPool
from router_r1.sim.world.facts import World
from router_r1.trajectories import TrajectoryStore
from tests.doubles.speaking_policy import SpeakingPolicy

WORLD = World(0)
CANDIDATES = SimulatedPool(WORLD)
QUESTION = "Who invented Bosen?"
FIRST_TURN = "<think> Ask specialist science expert Newton-8B. </think>\n<search> Newton-8B: {question} </search>"


def reply_to(question: str) -> str:
    """What the candidate that the policy asks says, which becomes the answer."""
    return CANDIDATES.reply("Newton-8B", question)


def ask_newton(context: str) -> str:
    """Asks Newton-8B the question as it stands, and answers with what it is told."""
    question = re.findall(r"Question: (.*?)<\|im_end\|>", context, re.DOTALL)[-1]
    told = re.findall(r"<information> (.*?) </information>", context)
    if not told:
        return FIRST_TURN.format(question=question)
    return f"<think> I was told. </think>\n<answer> {told[-1]} </answer>"


async def until(condition: Callable[[], object]) -> None:
    """Return as soon as it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (what it looks at tells nobody)
            await asyncio.sleep(0.01)


@dataclass
class Served:
    """A running server, and what is behind it."""

    app: Application
    server: Server
    router: Router
    policy: SpeakingPolicy
    port: int
    log: io.StringIO
    ended: asyncio.Task[None]
    store: TrajectoryStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> openai.AsyncOpenAI:
        given = {"api_key": "any", "max_retries": 0, "timeout": 30} | options
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", **given)

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    async def books_balance(self) -> None:
        """Nothing is left in flight, and what was started has ended in one way or another."""
        await until(
            lambda: not self.policy.running and self.router.routes.is_idle and not self.app.answering.places.held
        )
        for account in self.router.routes.ledger.accounts.values():
            assert account.started == account.finished + account.failed + account.cancelled
        assert self.app.answering.places.waiting == 0


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return load_tokenizer(str(SHIPPED_POLICY))


@pytest.fixture(scope="session")
def simulated_pool() -> Iterator[str]:
    """The base URL of the simulated candidates, which reply at once."""
    from router_r1.sim.server import app as sim

    sock, ready = sim.bind("127.0.0.1", 0), threading.Event()
    application = sim.create_app(sim.SimulatedSpeaker(CANDIDATES), latency_scale=0)
    config = sim.uvicorn.Config(application, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = sim._Server(config, ready.set)
    thread = threading.Thread(target=lambda: server.run(sockets=[sock]))
    thread.start()
    assert ready.wait(30)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


@pytest.fixture
def serve(tokenizer: Any, simulated_pool: str) -> Callable[..., Any]:
    """`async with serve(...) as served:`; options are those of `ServingOptions`."""

    @asynccontextmanager
    async def serving(
        say: Callable[[str], str] = ask_newton,
        *,
        keys: dict[str, bytes] | None = None,
        candidates: str | None = None,
        pool_path: Path | None = None,
        routing: dict[str, Any] | None = None,
        policy: Any = None,
        more: MoreMethods = NO_MORE,
        **options: Any,
    ) -> AsyncIterator[Served]:
        named = str(pool_path or "sim")
        settings = make_settings(RouterOptions(model_path=str(SHIPPED_POLICY), pool=named, template="tiny"))
        pool = load_pool(pool_file(named), base_url=candidates or (None if pool_path else simulated_pool))
        policy = policy or SpeakingPolicy(tokenizer, say)
        log = io.StringIO()
        logger = logging.Logger("test", logging.INFO)
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        given = ServingOptions(**options)
        store = open_store(given)
        async with RouteService(pool, config=RoutingConfig(**routing or {})) as routes:
            router = Router(OpenPolicy(policy, str(SHIPPED_POLICY), 4096), routes, pool, settings, tokenizer)
            app = Application(router, given, Keys(keys or {}), logger, store, more)
            ready, sock = asyncio.Event(), bind("127.0.0.1", 0)
            server = Server(app, drain_s=given.drain_s, on_ready=ready.set)
            task = asyncio.create_task(server.serve(sockets=[sock]))
            port = sock.getsockname()[1]
            try:
                await ready.wait()
                yield Served(app, server, router, policy, port, log, task, store)
            finally:
                policy.gate.set()
                server.should_exit = True
                await task
                app.close()
                store.close()

    return serving


def asked(question: str = QUESTION, **more: Any) -> dict[str, Any]:
    """The arguments of a request."""
    return {"model": "router-r1", "messages": [{"role": "user", "content": question}], **more}
