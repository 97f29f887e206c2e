"""A policy, its candidates and a tokenizer, opened together and closed together."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.checkpoints import with_weights
from router_r1.errors import ConfigError
from router_r1.pool import RoutingPool, load_pool
from router_r1.prompts import render_messages
from router_r1.protocol import Trajectory, Turn
from router_r1.rollout.http_policy import HttpPolicy, http_policy
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.policy import Policy
from router_r1.rollout.ray_policy import ray_policy
from router_r1.rollout.replicas import ReplicatedPolicy, shortest
from router_r1.rollout.tokens import encode_prompt
from router_r1.rollout.vllm_policy import VllmPolicy, vllm_policy
from router_r1.routing import RouteService
from router_r1.settings import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Session:
    """Everything one trajectory needs; any number may run at once."""

    policy: Policy
    routes: RouteService
    pool: RoutingPool
    tokenizer: PreTrainedTokenizerBase
    limits: RolloutLimits
    plan: Plan

    async def ask(self, question: str, *, request_id: str, watch: Callable[[Turn], None] | None = None) -> Trajectory:
        """Roll out one question under the plan's prompt template; `watch` as in `run_trajectory`."""
        messages = render_messages(self.plan.template, self.pool, question)
        return await self.roll_out(messages, request_id=request_id, watch=watch)

    async def roll_out(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        request_id: str,
        watch: Callable[[Turn], None] | None = None,
    ) -> Trajectory:
        """Roll out a rendered prompt; `watch` as in `run_trajectory`."""
        return await run_trajectory(
            encode_prompt(self.tokenizer, messages),
            policy=self.policy,
            dispatcher=self.routes,
            pool=self.pool,
            tokenizer=self.tokenizer,
            limits=self.limits,
            request_id=request_id,
            watch=watch,
        )


@asynccontextmanager
async def open_session(
    plan: Plan, *, tokenizer: PreTrainedTokenizerBase | None = None, quick_start: bool = False
) -> AsyncIterator[Session]:
    """Start what the plan needs: the simulated pool server, if it is that pool; the engine, unless one is served.

    Args:
        tokenizer: the policy's, if it is already loaded.
        quick_start: rather few seconds until the first token than many tokens per second.

    Raises:
        ConfigError: an endpoint or a model that turns out not to be there.
        RuntimeError: the engine or the pool server did not start.
    """
    async with AsyncExitStack() as stack:
        pool = plan.pool
        if plan.simulated:
            pool = load_pool(plan.pool_file, base_url=_serve_pool(plan, stack))
        policy, model = await _open_policy(plan, stack, quick_start=quick_start)
        tokenizer = tokenizer or load_tokenizer(plan.model_path or model)
        routes = await stack.enter_async_context(RouteService(pool, config=plan.routing))
        limits = replace(plan.limits, max_model_len=policy.max_model_len)
        yield Session(policy, routes, pool, tokenizer, limits, plan)


BoundedPolicy = VllmPolicy | HttpPolicy | ReplicatedPolicy
"""A policy back end that knows its longest sequence."""


async def _open_policy(plan: Plan, stack: AsyncExitStack, *, quick_start: bool) -> tuple[BoundedPolicy, str]:
    """The policy, and the model folder or hub id that it was loaded from."""
    if plan.base_urls:
        served = [await stack.enter_async_context(http_policy(url, sampling=plan.sampling)) for url in plan.base_urls]
        for url, one in zip(plan.base_urls, served, strict=True):
            if one.model != served[0].model:
                remedy = (
                    f"serves {one.model}, and {plan.base_urls[0]} serves {served[0].model}; they must be one policy"
                )
                raise ConfigError("command line", "--base_url", url, remedy)
        if len(served) == 1:
            return served[0], served[0].root
        return ReplicatedPolicy(served, max_model_len=shortest([one.max_model_len for one in served])), served[0].root
    assert plan.model_path is not None
    model = await asyncio.to_thread(with_weights, plan.model_path)
    options: dict[str, Any] = {
        "sampling": plan.sampling,
        "max_model_len": plan.limits.max_prompt_length + plan.limits.response_budget,
        "tensor_parallel_size": plan.tensor_parallel_size,
        "enforce_eager": quick_start,
        "seed": plan.seed,
    }
    if plan.replicas is not None:
        return await stack.enter_async_context(ray_policy(model, replicas=plan.replicas, **options)), model
    return await stack.enter_async_context(vllm_policy(model, **options)), model


def _serve_pool(plan: Plan, stack: AsyncExitStack) -> str:
    """Serve the simulated pool in the world of the run; its base URL."""
    from router_r1.sim.server.process import pool_server

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="router_r1_pool_"))
    server = pool_server(
        Path(folder, "pool_server.log"),
        seed=plan.run.get("seed", plan.seed),
        latency_scale=plan.run.get("latency_scale", 1.0),
        qa=plan.sim_qa,
    )
    return stack.enter_context(server)
