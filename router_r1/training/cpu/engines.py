"""veRL's FSDP engines, registered for the device "cpu".

Two assumptions of the upstream engines hold on GPUs only and are replaced while a model is built: that attention is
flash-attention (value heads), and that memory can be pinned (reference models).
"""

from __future__ import annotations

from unittest.mock import patch

import torch
import verl.utils.model
import verl.workers.engine.fsdp.transformer_impl as upstream
from torch.distributed.fsdp import CPUOffloadPolicy
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel
from verl.workers.engine import EngineRegistry


def load_valuehead_model(
    local_path: str, torch_dtype: torch.dtype, model_config: PretrainedConfig, trust_remote_code: bool
) -> PreTrainedModel:
    """`verl.utils.model.load_valuehead_model` with the configured attention instead of flash_attention_2."""
    return AutoModelForTokenClassification.from_pretrained(
        local_path,
        dtype=torch_dtype,
        config=model_config,
        trust_remote_code=trust_remote_code,
        attn_implementation=model_config._attn_implementation,
    )


class _CpuModelBuilding:
    def _build_module(self) -> torch.nn.Module:
        with patch.object(verl.utils.model, "load_valuehead_model", load_valuehead_model):
            return super()._build_module()  # type: ignore[misc]  # of the engine this is mixed into

    def _build_fsdp_module(self, module: torch.nn.Module) -> torch.nn.Module:
        with patch.object(upstream, "CPUOffloadPolicy", lambda pin_memory: CPUOffloadPolicy(pin_memory=False)):
            return super()._build_fsdp_module(module)  # type: ignore[misc]  # likewise


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cpu")
class CpuFSDPEngineWithLMHead(_CpuModelBuilding, upstream.FSDPEngineWithLMHead):
    """Actor and reference."""


@EngineRegistry.register(model_type="value_model", backend=["fsdp", "fsdp2"], device="cpu")
class CpuFSDPEngineWithValueHead(_CpuModelBuilding, upstream.FSDPEngineWithValueHead):
    """Critic."""
