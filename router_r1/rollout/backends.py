"""The policy back ends by name: what generates a policy's tokens, and how it is started and stopped.

A back end of the user's is a function like those here, in a file of their own, named by its dotted path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from router_r1.errors import ConfigError
from router_r1.plugins import call_with, check_call
from router_r1.rollout.http_policy import http_policy
from router_r1.rollout.policy import Policy
from router_r1.rollout.ray_policy import ray_policy
from router_r1.rollout.replicas import ReplicatedPolicy, shortest
from router_r1.rollout.sampling import Sampling
from router_r1.rollout.vllm_policy import vllm_policy


@dataclass(frozen=True)
class OpenPolicy:
    """A policy that is ready to generate."""

    policy: Policy
    model: str
    """Folder or hub id it was loaded from: where its tokenizer is."""
    max_model_len: int | None = None
    """Longest sequence it takes, prompt included, in tokens; None if it does not say."""


Backend = Callable[..., AbstractAsyncContextManager[OpenPolicy]]
"""Starts a policy and stops it on the way out. It is called with those of `BACKEND_ARGUMENTS` that it asks for."""

BACKEND_ARGUMENTS = (
    "model_path",  # str | None: folder or hub id, None for whatever is served
    "base_urls",  # tuple[str, ...]: where it is served
    "replicas",  # int | None: engines asked for
    "sampling",  # Sampling
    "max_model_len",  # int: longest sequence wanted, in tokens
    "tensor_parallel_size",  # int: GPUs that share the model
    "quick_start",  # bool: rather few seconds until the first token than many tokens per second
    "seed",  # int: of the engine
)


@asynccontextmanager
async def open_http(model_path: str | None, base_urls: Sequence[str], sampling: Sampling) -> AsyncIterator[OpenPolicy]:
    """A policy that is served at one address or several, all the same one.

    Raises:
        ConfigError: an address serves nothing, or another policy than the first.
    """
    if not base_urls:
        raise ConfigError("command line", "--base-url", None, "is needed: where the policy is served")
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(http_policy(url, sampling=sampling)) for url in base_urls]
        for url, one in zip(base_urls, served, strict=True):
            if one.model != served[0].model:
                remedy = f"serves {one.model}, and {base_urls[0]} serves {served[0].model}; they must be one policy"
                raise ConfigError("command line", "--base-url", url, remedy)
        length = shortest([one.max_model_len for one in served])
        policy: Policy = served[0] if len(served) == 1 else ReplicatedPolicy(served, max_model_len=length)
        yield OpenPolicy(policy, model_path or served[0].root, length)


@asynccontextmanager
async def open_vllm(
    model_path: str, sampling: Sampling, max_model_len: int, tensor_parallel_size: int, quick_start: bool, seed: int
) -> AsyncIterator[OpenPolicy]:
    """vLLM in this process."""
    async with vllm_policy(
        model_path,
        sampling=sampling,
        max_model_len=max_model_len,
        tensor_parallel_size=tensor_parallel_size,
        enforce_eager=quick_start,
        seed=seed,
    ) as policy:
        yield OpenPolicy(policy, model_path, policy.max_model_len)


@asynccontextmanager
async def open_ray(
    model_path: str,
    replicas: int | None,
    sampling: Sampling,
    max_model_len: int,
    tensor_parallel_size: int,
    quick_start: bool,
    seed: int,
) -> AsyncIterator[OpenPolicy]:
    """vLLM engines in a Ray cluster."""
    async with ray_policy(
        model_path,
        replicas=replicas or 1,
        sampling=sampling,
        max_model_len=max_model_len,
        tensor_parallel_size=tensor_parallel_size,
        enforce_eager=quick_start,
        seed=seed,
    ) as policy:
        yield OpenPolicy(policy, model_path, policy.max_model_len)


@asynccontextmanager
async def open_policy(backend: Backend, written: str | None, **available: Any) -> AsyncIterator[OpenPolicy]:
    """Start a back end with those of the arguments that it asks for, and stop it on the way out.

    Args:
        written: how the user named it.
        available: all of `BACKEND_ARGUMENTS`.

    Raises:
        ConfigError: a back end of the user's that opens no policy; or as the back end itself.
    """
    opening: object = call_with(backend, **available)
    if not isinstance(opening, AbstractAsyncContextManager):
        if isinstance(opening, Coroutine):
            opening.close()
        remedy = "must be an asynchronous context manager: write @asynccontextmanager above async def, and yield"
        raise ConfigError("command line", "--backend", written, remedy)
    opened: object
    async with opening as opened:
        if not isinstance(opened, OpenPolicy):
            remedy = f"yields an object of the class {type(opened).__qualname__}; must yield an OpenPolicy"
            raise ConfigError("command line", "--backend", written, remedy)
        asked = ("token_ids", "max_tokens=", "stop=", "request_id=")
        check_call("command line", "--backend", opened.policy, "generate", arguments=asked, waits=True)
        yield opened


BACKENDS: dict[str, Backend] = {"vllm": open_vllm, "http": open_http, "ray": open_ray}
"""Policy back ends by name."""
