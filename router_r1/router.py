"""A trained router, ready to be asked: policy, candidates, prompt and limits, opened together and closed together."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from router_r1.checkpoints import with_weights
from router_r1.errors import ConfigError, validated
from router_r1.event_loops import LoopThread
from router_r1.methods import CheckedMethod
from router_r1.plugins import call_with
from router_r1.pool import Deal, RoutingPool, load_pool
from router_r1.prompts import checked_question, render_messages
from router_r1.protocol import Trajectory, Turn
from router_r1.rollout.backends import OpenPolicy, open_policy
from router_r1.rollout.loop import run_trajectory
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.tokens import encode_prompt
from router_r1.routing import RouteService
from router_r1.routing.preflight import preflight
from router_r1.settings import RouterOptions, RouterSettings, make_settings

if TYPE_CHECKING:
    from types import TracebackType

    from transformers import PreTrainedTokenizerBase

    from router_r1.methods import Method
    from router_r1.rollout.policy import Dispatcher, Policy


class Router:
    """Asks a trained router; any number of questions may be worked on at once.

    In a script or a notebook:

        with Router.open(run="latest") as router:
            trajectory = router.ask("Who wrote Emma?")
            print(trajectory.answer, trajectory.routes, trajectory.raw_cost)

    In asynchronous code:

        async with Router.open(run="latest") as router:
            trajectory = await router.answer("Who wrote Emma?")

    Attributes:
        settings: what it was opened with.
        pool: the candidates it may ask.
        routes: the service that asks them; its `ledger` says what that has cost.
        policy: generates the turns.
        tokenizer: the policy's.
        limits: budgets of a trajectory, with the longest sequence that the policy takes.
    """

    def __init__(
        self, policy: OpenPolicy, routes: RouteService, pool: RoutingPool, settings: RouterSettings, tokenizer: Any
    ) -> None:
        self.settings, self.pool, self.routes = settings, pool, routes
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        self.policy = policy.policy
        self.limits = replace(settings.limits, max_model_len=policy.max_model_len)
        self._loop: asyncio.AbstractEventLoop | None = None  # of the thread that `with` started

    @staticmethod
    def open(*, quick_start: bool = True, **options: Any) -> Opening:
        """Choose a router; it is started by `with`, or by `async with`, and stopped at the end of the block.

        Args:
            quick_start: rather few seconds until the first token than many tokens per second.
            options: those of `RouterOptions`, which are those of the command line: `run`, `model_path`, `base_url`,
                `pool`, `template`, `temperature`, ...

        Raises:
            ConfigError: an option is wrong, or what it names is not there.
        """
        if isinstance(options.get("base_url"), str):
            options["base_url"] = (options["base_url"],)
        settings = make_settings(validated(RouterOptions, "Router.open", options))
        if settings.method:
            raise ConfigError("Router.open", "method", settings.options.method, "is no trained router; leave it out")
        return Opening(settings, quick_start=quick_start)

    async def answer(
        self,
        question: str,
        *,
        deal: Deal | None = None,
        request_id: str = "",
        watch: Callable[[Turn], None] | None = None,
    ) -> Trajectory:
        """Answer one question.

        Args:
            deal: the candidates it may ask, by the names they are shown by; None: the whole pool or, of a dealt pool,
                the first deal of its validation questions.
            request_id: names the trajectory; with a temperature above 0, the same name gives the same draw. "": any.
            watch: told of every turn when it is generated, and again when it is answered.

        Raises:
            ConfigError: the question is empty, or too long for the policy, or the pool lacks a candidate of the deal.
            RuntimeError: the policy's back end failed.
            BudgetSpent: nothing more may be spent on routes.
        """
        asked, settings = checked_question(question, "question", ""), self.settings
        deal = deal or settings.deal()
        messages = render_messages(settings.template, self.pool, asked, deal=deal, cost_weight=settings.cost_weight)
        return await self.roll_out(messages, request_id=request_id or uuid4().hex, deal=deal, watch=watch)

    def seen_through(self, *, policy: Policy, routes: Dispatcher) -> Router:
        """The same router, whose turns and routes pass through others, made around its `policy` and its `routes`.

        It is for one trajectory, or for some; closing it is up to the original. Its `routes` dispatch, and do no more.
        """
        router = copy.copy(self)
        router.policy, router.routes = policy, cast("RouteService", routes)
        return router

    def with_candidates(self, pool: RoutingPool, routes: RouteService) -> Router:
        """The same policy with other candidates. Closing it is up to the original, closing `routes` to the caller."""
        router = copy.copy(self)
        router.pool, router.routes, router.settings = pool, routes, replace(self.settings, pool=pool)
        return router

    def ask(
        self, question: str, *, deal: Deal | None = None, watch: Callable[[Turn], None] | None = None
    ) -> Trajectory:
        """Answer one question, and wait for it: `answer` for code that is not asynchronous.

        Raises:
            RuntimeError: the router was opened by `async with`, or is closed; or as in `answer`.
        """
        if self._loop is None:
            raise RuntimeError("ask() goes with `with Router.open(...)`; after `async with`, await router.answer(...)")
        return asyncio.run_coroutine_threadsafe(self.answer(question, deal=deal, watch=watch), self._loop).result()

    async def roll_out(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        request_id: str,
        prompt_ids: Sequence[int] | None = None,
        deal: Deal | None = None,
        watch: Callable[[Turn], None] | None = None,
        policy: Policy | None = None,
        routes: Dispatcher | None = None,
        max_turns: int | None = None,
    ) -> Trajectory:
        """Answer a question whose prompt, which offers the candidates of `deal`, is rendered already; as `answer`.

        Args:
            prompt_ids: [prompt_length], the messages encoded, if they are already.
            policy: what generates the turns instead, made around `self.policy`.
            routes: what asks the candidates instead, made around `self.routes`.
            max_turns: searches that get an observation, if not those of the settings.
        """
        limits = self.limits if max_turns is None else replace(self.limits, max_turns=max_turns)
        return await run_trajectory(
            prompt_ids or encode_prompt(self.tokenizer, messages),
            policy=policy or self.policy,
            dispatcher=routes or self.routes,
            pool=self.pool,
            tokenizer=self.tokenizer,
            limits=limits,
            request_id=request_id,
            deal=deal,
            watch=watch,
        )


class Opening:
    """A chosen router, started by `with` or `async with`."""

    def __init__(self, settings: RouterSettings, *, quick_start: bool) -> None:
        self._settings, self._quick_start = settings, quick_start
        self._thread: LoopThread | None = None

    def __enter__(self) -> Router:
        self._thread = LoopThread()
        try:
            self._context = open_router(self._settings, quick_start=self._quick_start)
            router = self._thread.run(self._context.__aenter__())
        except BaseException:
            self._thread.stop()
            raise
        router._loop = self._thread.loop
        self._router = router
        return router

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._router._loop = None  # whoever asks it from now on is told, rather than waiting for a loop that has ended
        try:
            self._thread.run(self._context.__aexit__(None, None, None))
        finally:
            self._thread.stop()

    async def __aenter__(self) -> Router:
        self._context = open_router(self._settings, quick_start=self._quick_start)
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, traceback)


@asynccontextmanager
async def open_router(
    settings: RouterSettings,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    asked: tuple[RouteService, RoutingPool] | None = None,
    quick_start: bool = False,
    check_candidates: bool = False,
    stop_when_refused: bool = False,
) -> AsyncIterator[Router]:
    """Start what the settings need: the simulated pool server, if it is that pool; the engine, unless one is served.

    Args:
        tokenizer: the policy's, if it is already loaded.
        asked: what asks the candidates, if it is already open (`open_routes`); closing it is up to the caller.
        quick_start: rather few seconds until the first token than many tokens per second.
        check_candidates: ask each a word before anything else is started; simulated ones are not asked.
        stop_when_refused: see `RouteService`.

    Raises:
        ConfigError: an endpoint or a model that turns out not to be there, or a candidate that cannot be asked.
        RuntimeError: the engine or the pool server did not start.
    """
    options = settings.options
    async with AsyncExitStack() as stack:
        if asked is None:
            opened = open_routes(settings, check_candidates=check_candidates, stop_when_refused=stop_when_refused)
            asked = await stack.enter_async_context(opened)
        model = options.model_path
        if model is not None and not options.base_url:
            model = await asyncio.to_thread(with_weights, model)
        policy = await stack.enter_async_context(
            open_policy(
                settings.backend,
                options.backend,
                model_path=model,
                base_urls=options.base_url,
                replicas=options.replicas,
                sampling=settings.sampling,
                max_model_len=settings.limits.max_prompt_length + settings.limits.response_budget,
                tensor_parallel_size=options.tensor_parallel_size,
                quick_start=quick_start,
                seed=options.seed,
            )
        )
        yield Router(policy, *asked, settings, tokenizer or load_tokenizer(options.model_path or policy.model))


@asynccontextmanager
async def open_method(
    settings: RouterSettings, *, check_candidates: bool = False, stop_when_refused: bool = False
) -> AsyncIterator[tuple[Method, RouteService, RoutingPool]]:
    """The method that the settings name, what asks its candidates, and these. Arguments and errors: `open_router`."""
    assert settings.method is not None
    opened = open_routes(settings, check_candidates=check_candidates, stop_when_refused=stop_when_refused)
    async with opened as (routes, pool):
        method = call_with(settings.method, pool=pool, routes=routes, settings=settings)
        yield CheckedMethod(method, settings.options.method), routes, pool


@asynccontextmanager
async def open_routes(
    settings: RouterSettings,
    *,
    temperature: float | None = None,
    check_candidates: bool = False,
    stop_when_refused: bool = False,
) -> AsyncIterator[tuple[RouteService, RoutingPool]]:
    """What asks the candidates of the settings, and these, without a policy. Other arguments and errors: `open_router`.

    Args:
        temperature: of every candidate, instead of the pool file's.
    """
    async with AsyncExitStack() as stack:
        pool = await _open_pool(settings, stack, check_candidates)
        if temperature is not None:
            pool = pool.at_temperature(temperature)
        service = RouteService(pool, config=settings.options.routing, stop_when_refused=stop_when_refused)
        yield await stack.enter_async_context(service), pool


async def _open_pool(settings: RouterSettings, stack: AsyncExitStack, check: bool) -> RoutingPool:
    """The candidates. Simulated ones are served first, in the world of the run, and so are recorded ones; others are
    asked a word, if wanted."""
    if not settings.simulated:
        if check:
            await preflight(settings.pool)
        return settings.pool
    from router_r1.sim.server.process import pool_server

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="router_r1_pool_"))
    server = pool_server(
        Path(folder, "pool_server.log"),
        seed=settings.run.get("seed", 0),
        latency_scale=settings.run.get("latency_scale", 1.0),
        qa=settings.options.sim_qa,
        recorded=settings.options.pool if settings.pool.recorded else None,
    )
    assert settings.options.pool is not None  # filled in by make_settings
    return load_pool(settings.options.pool, base_url=stack.enter_context(server))
