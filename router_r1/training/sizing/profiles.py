"""Which switches make a training fit: the fastest setting that does, or the nearest training that could.

The order of preference: as configured; smaller micro-batches, down to the longest trajectory; fused kernels; the
optimizer in the host's memory; parameters too. What the user gave is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from router_r1.training.sizing import memory
from router_r1.training.sizing.gpus import USABLE_GIB, Cluster, Gpu
from router_r1.training.sizing.job import Job
from router_r1.training.sizing.model_size import ModelSize

_STEP = 0.05
_LARGEST_SHARE = 0.85
_IN_FLIGHT = 2
"""KV cache is wanted for twice the trajectories that a step has in flight: a validation sends more of them."""


@dataclass(frozen=True)
class Fit:
    """Whether a job fits its GPUs, and what is in the way: in the words of a user, "" if nothing."""

    job: Job
    problem: str
    missing_gib: float = 0.0

    @property
    def fits(self) -> bool:
        """It does."""
        return not self.problem


def fit_of(model: ModelSize, job: Job, gpu: Gpu) -> Fit:
    """Judge a job as it is."""
    limit = memory.limit_gib(gpu)
    budgets = [job.token_budget, *([job.critic_token_budget] if job.has_critic else [])]
    if min(budgets) < job.max_length:
        return Fit(job, f"a micro-batch of {min(budgets):,} tokens holds no trajectory of {job.max_length:,}")
    decides = memory.largest(memory.phases(model, job, gpu))
    if decides.total_gib > limit:
        needed = f"its {decides.name} needs {decides.total_gib:.0f} GiB per GPU"
        told = f"{needed}, and of {gpu.usable_gib:.0f} it may take {limit:.0f}"
        return Fit(job, told, decides.total_gib - limit)
    held = memory.kv_tokens(model, job, gpu)
    if held < job.max_length:
        told = (
            f"the engine's share of {job.utilisation:g} leaves a KV cache of {held:,} tokens, "
            f"and one trajectory may have {job.max_length:,}"
        )
        return Fit(job, told)
    return Fit(job, "")


def choose(model: ModelSize, job: Job, gpu: Gpu, fixed: Collection[str] = ()) -> Fit:
    """The first setting that fits, in the order of preference; if none does, the one that misses by the least.

    Args:
        fixed: fields of `Job` that stay as they are.
    """
    tried = [fit_of(model, option, gpu) for option in _options(model, job, gpu, fixed)]
    return next((fit for fit in tried if fit.fits), min(tried, key=lambda fit: fit.missing_gib or math.inf))


def _options(model: ModelSize, job: Job, gpu: Gpu, fixed: Collection[str]) -> Iterator[Job]:
    for optimizer, parameters in ((False, False), (True, False), (True, True)):
        for fused in (False, True):
            for budget in _budgets(job):
                wanted: dict[str, Any] = {
                    "offloads_optimizer": optimizer,
                    "offloads_parameters": parameters,
                    "fuses_logits": fused,
                    "token_budget": budget,
                    "critic_token_budget": max(job.max_length, min(job.critic_token_budget, 2 * budget)),
                }
                option = replace(job, **{name: value for name, value in wanted.items() if name not in fixed})
                yield option if "utilisation" in fixed else replace(option, utilisation=_share(model, option, gpu))


def _budgets(job: Job) -> list[int]:
    """The given one, then halves of it, and last the longest trajectory: a micro-batch cannot be smaller."""
    found, budget = [], max(job.token_budget, job.max_length)
    while budget > job.max_length:
        found.append(budget)
        budget //= 2
    return [*found, job.max_length]


def _share(model: ModelSize, job: Job, gpu: Gpu) -> float:
    """Of a GPU's memory for the engine: what its trajectories want, in steps, but no more than is free in a rollout."""
    kv_gib = _IN_FLIGHT * job.trajectories_per_engine * job.max_length * memory.kv_bytes(model, job) / memory.GIB
    wanted = (memory.engine_fixed_gib(model, job) + kv_gib) / gpu.usable_gib
    beside = memory.phases(model, replace(job, utilisation=0.0), gpu)[0].total_gib
    free = (memory.limit_gib(gpu) - beside) / gpu.usable_gib
    share = min(math.ceil(wanted / _STEP), math.floor(_LARGEST_SHARE / _STEP), math.floor(free / _STEP))
    return round(max(share, 1) * _STEP, 2)


def nearest(model: ModelSize, job: Job, cluster: Cluster, fixed: Collection[str] = ()) -> list[str]:
    """What would fit instead, in the words of a user: fewest GPUs of this type, a cheaper training, a larger type."""
    told = []
    if more := _more_gpus(model, job, cluster, fixed):
        told.append(f"--gpus {more}")
    without_critic = replace(job, has_critic=False)
    adapters = replace(job, lora_rank=32, critic_lora_rank=32, has_reference=False)
    cheaper = {
        "algorithm.adv_estimator=grpo": without_critic,
        "actor_rollout_ref.model.lora_rank=32" + (" critic.model.lora_rank=32" if job.has_critic else ""): adapters,
        "algorithm.adv_estimator=grpo actor_rollout_ref.model.lora_rank=32": replace(adapters, has_critic=False),
    }
    for overrides, option in cheaper.items():
        if option != job and choose(model, option, cluster.gpu, fixed).fits:
            told.append(overrides)
            break
    larger = sorted((size, name) for name, size in USABLE_GIB.items() if size > cluster.gpu.usable_gib)
    for size, name in larger:
        if choose(model, job, Gpu(name, size), fixed).fits:
            told.append(f"--gpus {Cluster(Gpu(name, size), cluster.per_node, cluster.nodes)}")
            break
    return told


def _more_gpus(model: ModelSize, job: Job, cluster: Cluster, fixed: Collection[str]) -> Cluster | None:
    """The smallest larger cluster of this type: up to eight GPUs in a node, then up to 16 nodes."""
    sizes = [(count, cluster.nodes) for count in (2, 4, 8) if count > cluster.per_node]
    per_node = max(8, cluster.per_node)
    sizes += [(per_node, count) for count in (2, 4, 8, 16) if count > cluster.nodes]
    for count, nodes in sizes:
        option = job.on(count, nodes)
        if option.gpus % job.tensor_parallel == 0 and choose(model, option, cluster.gpu, fixed).fits:
            return Cluster(cluster.gpu, count, nodes)
    return None
