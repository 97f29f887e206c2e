"""Trainings and models that the tests of plans speak of."""

from __future__ import annotations

from typing import Any

from router_r1.training.sizing.job import Job
from router_r1.training.sizing.model_size import ModelSize, model_size

QWEN_3B = "Qwen/Qwen2.5-3B-Instruct"
LLAMA_3B = "meta-llama/Llama-3.2-3B-Instruct"


def size_of(model: str) -> ModelSize:
    return model_size(model, "test", "model")


def job(gpus: int = 4, **changes: Any) -> Job:
    """The paper's training, in float32, with PPO, as configured for 80 GB."""
    settings: dict[str, Any] = {
        "gpus": gpus,
        "gpus_per_node": gpus,
        "shards": gpus,
        "has_critic": True,
        "has_reference": True,
        "lora_rank": 0,
        "critic_lora_rank": 0,
        "merges_lora": False,
        "parameter_bytes": 4,
        "critic_parameter_bytes": 4,
        "checkpoints_activations": True,
        "compiles": True,
        "has_entropy_in_update": False,
        "max_length": 11616,
        "trajectories": 64,
        "tensor_parallel": 1,
        "engine_tokens": 16384,
        "engine_sequences": 512,
        "bucket_mib": 2048,
        "offloads_parameters": False,
        "offloads_optimizer": False,
        "fuses_logits": False,
        "token_budget": 24576,
        "critic_token_budget": 49152,
        "utilisation": 0.6,
    }
    return Job(**(settings | changes))
