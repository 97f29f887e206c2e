"""A training as its memory sees it: what is trained on how many GPUs, and the switches that trade memory for time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError

_DTYPE_BYTES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training. Tokens are those of one GPU in one micro-batch."""

    gpus: int  # all of them
    gpus_per_node: int
    shards: int  # GPUs that share one copy of the parameters (FSDP)
    has_critic: bool
    has_reference: bool  # a copy of its own; an adapter's reference is the policy without it
    lora_rank: int  # of the policy; 0 = all parameters are trained
    critic_lora_rank: int
    merges_lora: bool  # into the weights that the engine gets
    parameter_bytes: int  # 4 = float32
    critic_parameter_bytes: int
    checkpoints_activations: bool  # only the layers' inputs are kept, the rest is computed again
    compiles: bool
    has_entropy_in_update: bool
    max_length: int  # tokens of the longest trajectory, prompt included
    trajectories: int  # of one step
    tensor_parallel: int  # GPUs of one engine
    engine_tokens: int  # the engine's max_num_batched_tokens
    engine_sequences: int  # its max_num_seqs
    bucket_mib: int  # of weights on their way to the engine
    # What a profile may choose:
    offloads_parameters: bool
    offloads_optimizer: bool
    fuses_logits: bool  # logits are made in small pieces (`use_fused_kernels`)
    token_budget: int
    critic_token_budget: int
    utilisation: float  # share of a GPU's memory that the engine takes

    @property
    def engines(self) -> int:
        """Engines that write trajectories."""
        return max(1, self.gpus // self.tensor_parallel)

    @property
    def trajectories_per_engine(self) -> int:
        """In flight at once in a step, at most."""
        return min(self.engine_sequences, -(-self.trajectories // self.engines))

    def on(self, gpus_per_node: int, nodes: int) -> Job:
        """The same on another number of GPUs."""
        return replace(self, gpus=gpus_per_node * nodes, gpus_per_node=gpus_per_node, shards=gpus_per_node * nodes)


KEYS: Mapping[str, tuple[str, ...]] = {
    "offloads_parameters": ("actor_rollout_ref.actor.fsdp_config.param_offload", "critic.fsdp.param_offload"),
    "offloads_optimizer": ("actor_rollout_ref.actor.fsdp_config.optimizer_offload", "critic.fsdp.optimizer_offload"),
    "fuses_logits": ("actor_rollout_ref.model.use_fused_kernels",),
    "token_budget": ("actor_rollout_ref.actor.ppo_max_token_len_per_gpu",),
    "critic_token_budget": ("critic.ppo_infer_max_token_len_per_gpu",),
    "utilisation": ("actor_rollout_ref.rollout.gpu_memory_utilization",),
}
"""Field of `Job` that a profile may choose -> the keys that say it."""


def job_of(config: DictConfig) -> Job:
    """What a resolved configuration says. A key that it has not (veRL is not installed) is veRL 0.9.1's default.

    Raises:
        ConfigError: an engine that does not divide the GPUs.
    """

    def value(key: str, default: Any) -> Any:
        found = OmegaConf.select(config, key)
        return default if found is None else found

    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    per_node, nodes = int(value("trainer.n_gpus_per_node", 8)), int(value("trainer.nnodes", 1))
    gpus = per_node * nodes
    tensor_parallel = int(value(f"{rollout}.tensor_model_parallel_size", 1))
    if gpus % tensor_parallel:
        remedy = f"must divide the {gpus} GPUs"
        raise ConfigError("configuration", f"{rollout}.tensor_model_parallel_size", tensor_parallel, remedy)
    max_length = int(config.data.max_prompt_length + config.data.max_response_length)
    fsdp_size = int(value(f"{actor}.fsdp_config.fsdp_size", -1))
    lora = _lora_rank(config, "actor_rollout_ref.model")
    critic = value("critic.enable", None)
    budget = _token_budget(config, actor, max_length, 16384)
    return Job(
        gpus=gpus,
        gpus_per_node=per_node,
        shards=fsdp_size if 0 < fsdp_size < gpus else gpus,
        has_critic=bool(critic) if critic is not None else config.algorithm.adv_estimator == "gae",
        has_reference=not lora
        and bool(value("algorithm.use_kl_in_reward", False) or value(f"{actor}.use_kl_loss", False)),
        lora_rank=lora,
        critic_lora_rank=_lora_rank(config, "critic.model"),
        merges_lora=bool(value("actor_rollout_ref.model.lora.merge", False)),
        parameter_bytes=_DTYPE_BYTES.get(str(value(f"{actor}.fsdp_config.model_dtype", "fp32")), 4),
        critic_parameter_bytes=_DTYPE_BYTES.get(str(value("critic.fsdp.model_dtype", "fp32")), 4),
        checkpoints_activations=bool(value("actor_rollout_ref.model.enable_gradient_checkpointing", True)),
        compiles=bool(value(f"{actor}.fsdp_config.use_torch_compile", True)),
        has_entropy_in_update=bool(value(f"{actor}.calculate_entropy", False) or value(f"{actor}.entropy_coeff", 0)),
        max_length=max_length,
        trajectories=int(config.data.train_batch_size * value(f"{rollout}.n", 1)),
        tensor_parallel=tensor_parallel,
        engine_tokens=int(value(f"{rollout}.max_num_batched_tokens", 8192)),
        engine_sequences=int(value(f"{rollout}.max_num_seqs", 256)),
        bucket_mib=int(value(f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes", 2048)),
        offloads_parameters=bool(value(f"{actor}.fsdp_config.param_offload", False)),
        offloads_optimizer=bool(value(f"{actor}.fsdp_config.optimizer_offload", False)),
        fuses_logits=bool(value("actor_rollout_ref.model.use_fused_kernels", False)),
        token_budget=budget,
        critic_token_budget=int(value("critic.ppo_infer_max_token_len_per_gpu", 32768)),
        utilisation=float(value(f"{rollout}.gpu_memory_utilization", 0.5)),
    )


def overrides_between(before: Job, after: Job) -> list[str]:
    """The overrides that make the one of the other, as far as a profile chooses them."""
    found = []
    for field in fields(Job):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name not in KEYS or old == new:
            continue
        if not after.has_critic and field.name == "critic_token_budget":
            continue
        keys = KEYS[field.name] if after.has_critic else [k for k in KEYS[field.name] if not k.startswith("critic.")]
        written = str(new).lower() if isinstance(new, bool) else f"{new:g}" if isinstance(new, float) else str(new)
        # veRL's dataclass has a key that its YAML has not: ++ sets it either way.
        found += [f"{'++' if key.startswith('critic.ppo_infer') else ''}{key}={written}" for key in keys]
    return found


def _lora_rank(config: DictConfig, model: str) -> int:
    """Of the two places where veRL 0.9.1 looks for a rank."""
    return int(OmegaConf.select(config, f"{model}.lora.rank") or OmegaConf.select(config, f"{model}.lora_rank") or 0)


def _token_budget(config: DictConfig, actor: str, max_length: int, default: int) -> int:
    """Tokens of a micro-batch: given as such, or as a number of trajectories, each as long as can be."""
    if OmegaConf.select(config, f"{actor}.use_dynamic_bsz"):
        return int(OmegaConf.select(config, f"{actor}.ppo_max_token_len_per_gpu") or default)
    return int(OmegaConf.select(config, f"{actor}.ppo_micro_batch_size_per_gpu") or 1) * max_length
