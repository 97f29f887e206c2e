"""Policy back end: vLLM engines as Ray actors, on the machines of a cluster.

Each actor holds one engine (`vllm_policy`) and the GPUs it needs. An engine that dies ends the trajectories it held
with `RuntimeError`; nothing is generated twice behind the loop's back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from router_r1.errors import ConfigError
from router_r1.rollout.policy import Generation
from router_r1.rollout.replicas import ReplicatedPolicy, shortest
from router_r1.rollout.sampling import Sampling

_MAX_IN_FLIGHT = 100_000  # the engine queues by itself


class _Engine:
    """What runs in the actor."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def start(self, model_path: str, sampling: Sampling, options: dict[str, Any]) -> int:
        """Start the engine; the longest sequence it takes."""
        from router_r1.rollout.vllm_policy import vllm_policy

        self._policy = await self._stack.enter_async_context(vllm_policy(model_path, sampling=sampling, **options))
        return self._policy.max_model_len

    async def generate(self, token_ids: list[int], max_tokens: int, stop: list[str], request_id: str) -> Generation:
        return await self._policy.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)

    async def close(self) -> None:
        await self._stack.aclose()


class _RemotePolicy:
    """An actor as `rollout.policy.Policy`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """See `Policy.generate`. Cancelling it aborts the request in the engine."""
        import ray
        from ray.exceptions import RayError

        generation = self._actor.generate.remote(list(token_ids), max_tokens, list(stop), request_id)
        try:
            generated: Generation = await generation
            return generated
        except asyncio.CancelledError:
            ray.cancel(generation)
            raise
        except RayError as fault:
            raise RuntimeError(f"a replica of the policy failed: {_last_line(fault)}") from fault


@asynccontextmanager
async def ray_policy(
    model_path: str, *, replicas: int, sampling: Sampling, tensor_parallel_size: int = 1, **options: Any
) -> AsyncIterator[ReplicatedPolicy]:
    """Start `replicas` engines in a Ray cluster (`RAY_ADDRESS`), or on this machine if there is none.

    Args:
        model_path: folder in Hugging Face format that every machine of the cluster can read, or a hub id.
        tensor_parallel_size: GPUs that share the model, per engine.
        options: further arguments of `vllm_policy`.

    Raises:
        ConfigError: the cluster cannot be reached, or has too few GPUs for so many engines.
        RuntimeError: an engine did not start.
    """
    import ray
    from ray.exceptions import RayError

    started_here = not ray.is_initialized()
    if started_here:
        _connect()
    try:
        actor = ray.remote(_Engine).options(**engine_resources(ray.cluster_resources(), replicas, tensor_parallel_size))
        actors = [actor.remote() for _ in range(replicas)]
        options = {**options, "tensor_parallel_size": tensor_parallel_size}
        try:
            starts = [one.start.remote(model_path, sampling, options) for one in actors]
            lengths = await asyncio.gather(*starts)
        except RayError as fault:
            raise RuntimeError(f"a replica of the policy did not start: {_last_line(fault)}") from fault
        try:
            yield ReplicatedPolicy([_RemotePolicy(one) for one in actors], max_model_len=shortest(lengths))
        finally:
            await asyncio.gather(*(one.close.remote() for one in actors), return_exceptions=True)
            for one in actors:
                ray.kill(one)
    finally:
        if started_here:
            ray.shutdown()


def _connect() -> None:
    """To the cluster of `RAY_ADDRESS`, or to one started on this machine."""
    import ray

    address = os.environ.get("RAY_ADDRESS")
    local_cluster = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local_cluster)
    except (ConnectionError, ValueError, RuntimeError) as fault:
        remedy = f"the Ray cluster cannot be reached: {_last_line(fault)}"
        raise ConfigError("environment", "RAY_ADDRESS", address, remedy) from None


def engine_resources(cluster: dict[str, float], replicas: int, gpus_each: int) -> dict[str, Any]:
    """What Ray reserves for each engine: its GPUs, or a share of the cores where there are none.

    Raises:
        ConfigError: the cluster has fewer GPUs than the engines need.
    """
    shared: dict[str, Any] = {"max_concurrency": _MAX_IN_FLIGHT}
    gpus = int(cluster.get("GPU", 0))
    if gpus == 0:
        return {**shared, "num_cpus": min(1.0, cluster.get("CPU", 1.0) / replicas)}
    if replicas * gpus_each > gpus:
        remedy = f"need {replicas * gpus_each} GPUs, and the cluster has {gpus}; ask for fewer"
        raise ConfigError("command line", "--replicas", replicas, remedy)
    return {**shared, "num_gpus": gpus_each, "num_cpus": 1}


def _last_line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return lines[-1] if lines else type(fault).__name__
