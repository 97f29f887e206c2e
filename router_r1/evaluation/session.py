"""A policy, its candidates and a tokenizer, opened together and closed together."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from router_r1.evaluation.plan import Plan
from router_r1.pool import RoutingPool, load_pool
from router_r1.prompts import render_messages
from router_r1.protocol import Trajectory
from router_r1.rollout.http_policy import HttpPolicy, http_policy
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.model_folder import load_tokenizer
from router_r1.rollout.tokens import encode_prompt
from router_r1.rollout.vllm_policy import VllmPolicy, vllm_policy
from router_r1.routing import RouteService

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Session:
    """Everything one trajectory needs; any number may run at once."""

    policy: VllmPolicy | HttpPolicy
    routes: RouteService
    pool: RoutingPool
    tokenizer: PreTrainedTokenizerBase
    limits: RolloutLimits
    plan: Plan

    async def ask(self, question: str, *, request_id: str) -> Trajectory:
        """Roll out one question under the plan's prompt template."""
        messages = render_messages(self.plan.template, self.pool, question)
        return await self.roll_out(messages, request_id=request_id)

    async def roll_out(self, messages: Sequence[Mapping[str, str]], *, request_id: str) -> Trajectory:
        """Roll out a rendered prompt."""
        return await run_trajectory(
            encode_prompt(self.tokenizer, messages),
            policy=self.policy,
            dispatcher=self.routes,
            pool=self.pool,
            tokenizer=self.tokenizer,
            limits=self.limits,
            request_id=request_id,
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
        policy: VllmPolicy | HttpPolicy
        if plan.base_url is not None:
            policy = await stack.enter_async_context(http_policy(plan.base_url, sampling=plan.sampling))
            tokenizer = tokenizer or load_tokenizer(plan.model_path or policy.root)
        else:
            assert plan.model_path is not None
            tokenizer = tokenizer or load_tokenizer(plan.model_path)
            policy = await stack.enter_async_context(
                vllm_policy(
                    plan.model_path,
                    sampling=plan.sampling,
                    max_model_len=plan.limits.max_prompt_length + plan.limits.response_budget,
                    tensor_parallel_size=plan.tensor_parallel_size,
                    enforce_eager=quick_start,
                    seed=plan.seed,
                )
            )
        routes = await stack.enter_async_context(RouteService(pool))
        limits = replace(plan.limits, max_model_len=policy.max_model_len)
        yield Session(policy, routes, pool, tokenizer, limits, plan)


def _serve_pool(plan: Plan, stack: AsyncExitStack) -> str:
    """Serve the simulated pool in the world of the run; its base URL."""
    from router_r1.sim.process import pool_server

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="router_r1_pool_"))
    server = pool_server(
        Path(folder, "pool_server.log"),
        seed=plan.run.get("seed", plan.seed),
        latency_scale=plan.run.get("latency_scale", 1.0),
        qa=plan.run.get("qa", ()),
    )
    return stack.enter_context(server)
