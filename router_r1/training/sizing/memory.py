"""Memory of one GPU in each phase of a step, and of a node's host: what docs/plan.md says in words.

Sizes are bytes until they leave this module as GiB. The policy, its optimizer, and the critic live in one process per
GPU, the engine in another; the reference stays in the host's memory (`CPUOffloadPolicy`) and passes through.

The figures per token were counted by dispatching veRL's own passes on fake tensors (tests/unit/training/sizing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from router_r1.training.sizing.gpus import Gpu
from router_r1.training.sizing.job import Job
from router_r1.training.sizing.model_size import ModelSize

GIB = 2**30

TRAINER_CONTEXT_GIB = 1.0
"""CUDA context, kernels and NCCL buffers of the trainer's process. Believed."""
ENGINE_ASLEEP_GIB = 1.5
"""What a sleeping engine keeps: context, NCCL, CUDA graphs. Believed."""
ENGINE_BEYOND_SHARE_GIB = 0.5
"""What an engine that is awake takes beside the share it was given. Believed."""
ENGINE_GRAPHS_GIB = 0.5
"""CUDA graphs within that share. Believed."""
RESERVE = 0.05
"""Share of a GPU that stays free: blocks that the allocator cannot join. Believed."""

LOGITS_PLAIN = 1.0
"""Logits-sized bfloat16 buffers at the update's peak: flash-attn's cross-entropy writes the gradient in place."""
LOGITS_ENTROPY_COMPILED = 4.0
"""The same with the entropy in the graph, compiled. Believed."""
LOGITS_ENTROPY_EAGER = 7.1
"""The same, not compiled."""
LOGITS_FORWARD_COMPILED = 1.5
"""Without gradients; the entropy is always asked for there. Believed."""
LOGITS_FORWARD_EAGER = 3.0
FUSED_CHUNK = 512
"""Tokens whose logits exist at once with fused kernels."""
FUSED_BYTES = 22
"""Per logit of such a piece, at the update's peak: logits, probabilities and gradients, most in float32."""
FUSED_BYTES_ENTROPY = 28
FUSED_BYTES_FORWARD = 14

HOST_PER_GPU_GIB = 8.0
"""Python, torch and CUDA of a trainer's and an engine's process. Believed."""
HOST_PER_NODE_GIB = 16.0
"""Ray, its object store, rollout workers. Believed."""


@dataclass(frozen=True)
class Phase:
    """A part of a step, and what lies on one GPU in it, in GiB."""

    name: str
    allocated: Mapping[str, float]  # by torch in the trainer's process: what veRL measures
    other: Mapping[str, float]  # contexts, and the engine

    @property
    def allocated_gib(self) -> float:
        """What `perf/max_memory_allocated_gb` would be."""
        return sum(self.allocated.values())

    @property
    def total_gib(self) -> float:
        """All of it."""
        return self.allocated_gib + sum(self.other.values())


@dataclass(frozen=True)
class _Trained:
    """The policy or the critic, in bytes on one GPU."""

    parameters: float
    gradients: float
    optimizer: float
    job: Job

    @property
    def resident(self) -> float:
        """While it is not its turn."""
        parameters = 0.0 if self.job.offloads_parameters else self.parameters
        return parameters + (0.0 if self.job.offloads_optimizer else self.optimizer)

    @property
    def while_it_reads(self) -> float:
        """In a pass without gradients."""
        return self.parameters + (0.0 if self.job.offloads_optimizer else self.optimizer)

    @property
    def while_it_learns(self) -> float:
        """In its update."""
        return self.parameters + self.gradients + self.optimizer


def _policy(model: ModelSize, job: Job) -> _Trained:
    return _trained(model.parameters, model.lora_parameters(job.lora_rank), job.parameter_bytes, job)


def _critic(model: ModelSize, job: Job) -> _Trained:
    if not job.has_critic:
        return _Trained(0, 0, 0, job)
    adapter = model.lora_parameters(job.critic_lora_rank)
    return _trained(model.value_parameters, adapter, job.critic_parameter_bytes, job)


def _trained(base: int, adapter: int, size: int, job: Job) -> _Trained:
    """AdamW keeps two numbers per trained parameter, each as wide as the parameter."""
    learns = adapter or base
    return _Trained(
        size * (base + adapter) / job.shards, size * learns / job.shards, 2 * size * learns / job.shards, job
    )


def phases(model: ModelSize, job: Job, gpu: Gpu) -> list[Phase]:
    """Every phase of a step, in the order in which they come."""
    policy, critic = _policy(model, job), _critic(model, job)
    asleep = {"contexts": TRAINER_CONTEXT_GIB + ENGINE_ASLEEP_GIB}
    found = [
        Phase(
            "rollout",
            _gib(policy=policy.resident, critic=critic.resident),
            {
                "engine": job.utilisation * gpu.usable_gib,
                "contexts": TRAINER_CONTEXT_GIB + ENGINE_BEYOND_SHARE_GIB,
            },
        ),
        Phase(
            "log-probs",
            _gib(policy=policy.while_it_reads, critic=critic.resident, work=_forward_work(model, job)),
            asleep,
        ),
    ]
    if job.has_critic:
        work = max(_critic_work(model, job), _optimizer_work(critic))
        found.append(
            Phase("critic update", _gib(policy=policy.resident, critic=critic.while_it_learns, work=work), asleep)
        )
    work = max(_update_work(model, job), _optimizer_work(policy))
    found.append(Phase("policy update", _gib(policy=policy.while_it_learns, critic=critic.resident, work=work), asleep))
    staged = policy.while_it_reads if job.lora_rank else policy.resident
    work = 4.0 * model.head_parameters + job.bucket_mib * 2**20
    engine = 2 * model.parameters / job.tensor_parallel / GIB
    found.append(
        Phase(
            "weight sync",
            _gib(policy=staged, critic=critic.resident, work=work),
            asleep | {"engine": engine},
        )
    )
    return found


def largest(found: list[Phase]) -> Phase:
    """The phase that decides."""
    return max(found, key=lambda phase: phase.total_gib)


def update_gib(found: list[Phase]) -> float:
    """The larger of the two updates."""
    return max(phase.total_gib for phase in found if phase.name.endswith("update"))


def limit_gib(gpu: Gpu) -> float:
    """What a phase may take of a GPU."""
    return gpu.usable_gib * (1 - RESERVE)


def _gib(**parts: float) -> dict[str, float]:
    return {name: size / GIB for name, size in parts.items() if size}


def _layers(model: ModelSize, job: Job, tokens: int) -> tuple[float, float]:
    """What the layers keep for the backward pass, and what the one that is at work has beside it."""
    kept = 20 * model.hidden + 8 * model.intermediate + 4 * model.kv_width
    passing = 4 * model.intermediate
    if job.checkpoints_activations:
        return model.num_layers * tokens * 2 * model.hidden, tokens * (kept + passing)
    return model.num_layers * tokens * (kept + 2 * model.hidden), tokens * passing


def _sharding(model: ModelSize) -> float:
    """FSDP's buffers: two layers and the head in bfloat16, a layer's gradient so and in float32 for its reduction."""
    return 2 * model.head_parameters + (2 * 2 + 2 + 4) * model.layer_parameters


def _update_work(model: ModelSize, job: Job) -> float:
    tokens = job.token_budget
    kept, at_work = _layers(model, job, tokens)
    if job.fuses_logits:
        # The head's gradient is there twice: a piece's, to be added to the sum.
        size = FUSED_BYTES_ENTROPY if job.has_entropy_in_update else FUSED_BYTES
        logits = size * FUSED_CHUNK * model.vocabulary + 4.0 * model.head_parameters
    else:
        buffers = LOGITS_PLAIN
        if job.has_entropy_in_update:
            buffers = LOGITS_ENTROPY_COMPILED if job.compiles else LOGITS_ENTROPY_EAGER
        logits = buffers * 2 * tokens * model.vocabulary + 2 * model.head_parameters
    return kept + max(at_work, logits + 10 * tokens * model.hidden) + _sharding(model)


def _critic_work(model: ModelSize, job: Job) -> float:
    return sum(_layers(model, job, job.critic_token_budget)) + _sharding(model)


def _forward_work(model: ModelSize, job: Job) -> float:
    tokens = job.token_budget
    buffers = LOGITS_FORWARD_COMPILED if job.compiles else LOGITS_FORWARD_EAGER
    logits = FUSED_BYTES_FORWARD * FUSED_CHUNK if job.fuses_logits else buffers * 2 * tokens
    layer = tokens * (6 * model.intermediate + 8 * model.hidden)
    return max(logits * model.vocabulary + 4 * tokens * model.hidden, layer) + _sharding(model)


def _optimizer_work(trained: _Trained) -> float:
    """AdamW over many tensors at once takes the roots of all second moments."""
    return trained.optimizer / 2


def engine_fixed_gib(model: ModelSize, job: Job) -> float:
    """What an engine's share holds before its KV cache: weights, one pass of as many tokens as it takes, graphs."""
    parallel = job.tensor_parallel
    weights = 2 * model.parameters / parallel
    one_pass = job.engine_tokens * (6 * model.intermediate / parallel + 8 * model.hidden)
    sampling = 12 * job.engine_sequences * model.vocabulary
    return (weights + one_pass + sampling) / GIB + ENGINE_GRAPHS_GIB


def kv_bytes(model: ModelSize, job: Job) -> float:
    """KV cache per token on one GPU; heads that are fewer than the GPUs of an engine are held by several."""
    return model.kv_bytes / min(job.tensor_parallel, model.kv_heads)


def kv_tokens(model: ModelSize, job: Job, gpu: Gpu) -> int:
    """Tokens that an engine's KV cache holds; an engine does not start with fewer than its longest trajectory has."""
    free = job.utilisation * gpu.usable_gib - engine_fixed_gib(model, job)
    return max(0, math.floor(free * GIB / kv_bytes(model, job)))


@dataclass(frozen=True)
class HostMemory:
    """Memory of one node, in GiB."""

    loading: float  # when the models are read
    training: float


def host_memory(model: ModelSize, job: Job) -> HostMemory:
    """Of a model with tied embeddings every process reads all parameters; of another, one of them."""
    policy, critic = _policy(model, job), _critic(model, job)
    base = HOST_PER_NODE_GIB + HOST_PER_GPU_GIB * job.gpus_per_node
    reference = 4 * model.parameters / job.shards if job.has_reference else 0.0
    resident = reference
    for trained in (policy, critic):
        resident += trained.parameters if job.offloads_parameters else 0
        resident += trained.optimizer if job.offloads_optimizer else 0
    on_node = resident * job.gpus_per_node
    if job.lora_rank and not job.merges_lora:
        on_node += 2 * model.parameters * job.gpus_per_node / job.tensor_parallel  # a sleeping engine keeps its weights
    reads = (job.gpus_per_node if model.is_tied else 1) * job.parameter_bytes * model.parameters
    writes = (job.parameter_bytes + 2) * model.parameters  # a checkpoint in Hugging Face's format
    return HostMemory(base + (on_node + reads) / GIB, base + (on_node + writes) / GIB)


def checkpoint_bytes(model: ModelSize, job: Job, *, has_hf_model: bool) -> int:
    """Parameters and optimizer of the policy and the critic, and the policy once more in Hugging Face's format."""
    found = 0
    models = [(model.parameters, job.lora_rank, job.parameter_bytes)]
    if job.has_critic:
        models.append((model.value_parameters, job.critic_lora_rank, job.critic_parameter_bytes))
    for base, rank, size in models:
        adapter = model.lora_parameters(rank)
        found += size * (base + adapter) + 2 * size * (adapter or base)
    return found + (job.parameter_bytes * model.parameters if has_hf_model else 0)
