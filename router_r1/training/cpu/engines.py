"""veRL's FSDP engines, registered for the device "cpu".

Three assumptions of the upstream engines hold on GPUs only and are replaced: while a model is built, that attention is
flash-attention (value heads) and that memory can be pinned (reference models); for good, that what was moved to the
CPU is a copy (`mode=separate` puts weights aside and takes them back). Where upstream is quick with kernels that only
GPUs have, the engines here do the same work another way: attention (`packed_attention`) and log-probs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import verl.utils.fsdp_utils
import verl.utils.model
import verl.workers.engine.fsdp.transformer_impl as upstream
from tensordict import NonTensorStack, TensorDict
from torch.distributed.fsdp import CPUOffloadPolicy
from torch.nn.functional import log_softmax
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel
from verl.utils import tensordict_utils as tu
from verl.workers.engine import EngineRegistry

import router_r1.training.cpu.packed_attention  # noqa: F401  registers the attention that the configuration names

_NEED_EVERY_LOGIT = ("use_fused_kernels", "calculate_sum_pi_squared", "distillation_only")
"""Options of a batch with which the upstream engine computes more than log-probs and entropies."""


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


def copied_shards(
    save: Callable[[torch.nn.Module], tuple[dict[str, tuple[torch.Tensor, Any]], Any]],
) -> Callable[[torch.nn.Module], tuple[dict[str, tuple[torch.Tensor, Any]], Any]]:
    """`verl.utils.fsdp_utils.fsdp2_sharded_save_to_cpu`, so that the next update leaves what was saved as it was."""

    @functools.wraps(save)
    def save_copies(model: torch.nn.Module) -> tuple[dict[str, tuple[torch.Tensor, Any]], Any]:
        shards, spec = save(model)
        return {name: (shard.clone(), its_spec) for name, (shard, its_spec) in shards.items()}, spec

    return save_copies


verl.utils.fsdp_utils.fsdp2_sharded_save_to_cpu = copied_shards(verl.utils.fsdp_utils.fsdp2_sharded_save_to_cpu)


class _CpuEngine:
    """What the engines of both kinds of model do another way than upstream."""

    def _build_module(self) -> torch.nn.Module:
        with patch.object(verl.utils.model, "load_valuehead_model", load_valuehead_model):
            return super()._build_module()  # type: ignore[misc]  # of the engine this is mixed into

    def _build_fsdp_module(self, module: torch.nn.Module) -> torch.nn.Module:
        with patch.object(upstream, "CPUOffloadPolicy", lambda pin_memory: CPUOffloadPolicy(pin_memory=False)):
            return super()._build_fsdp_module(module)  # type: ignore[misc]  # likewise

    def forward_backward_batch(
        self, data: TensorDict, loss_function: Callable[..., Any] | None, forward_only: bool = False
    ) -> dict[str, Any]:
        """Upstream's, without what is no tensor (prompts as text, rewards' details): it is copied per micro-batch, and
        no model or loss reads it.
        """
        texts = [key for key in data.keys() if isinstance(data.get(key), NonTensorStack)]  # noqa: SIM118  no dict
        outputs: dict[str, Any] = super().forward_backward_batch(  # type: ignore[misc]  # likewise
            data.exclude(*texts), loss_function, forward_only=forward_only
        )
        return outputs


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cpu")
class CpuFSDPEngineWithLMHead(_CpuEngine, upstream.FSDPEngineWithLMHead):
    """Actor and reference.

    Computes logits where they predict a trained token and nowhere else, and their log-probs at one go: upstream's
    way without flash-attention takes one position after another. Elsewhere log-probs and entropies are 0; veRL
    reads those of trained tokens alone.
    """

    def prepare_model_inputs(self, micro_batch: TensorDict) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, args = super().prepare_model_inputs(micro_batch)
        packed = tu.get_non_tensor_data(data=micro_batch, key="use_remove_padding", default=True)
        if packed and not any(
            tu.get_non_tensor_data(data=micro_batch, key=option, default=False) for option in _NEED_EVERY_LOGIT
        ):
            inputs["logits_to_keep"] = args["kept"] = trained_predictors(micro_batch)
        return inputs, args

    def prepare_model_outputs(
        self, output: Any, output_args: dict[str, Any], micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, torch.Tensor]:
        kept = output_args.get("kept")
        if kept is None:
            outputs: dict[str, torch.Tensor] = super().prepare_model_outputs(
                output, output_args, micro_batch, logits_processor_func
            )
            return outputs
        logits = output.logits.squeeze(0)  # [num_response_tokens, vocabulary]
        if not output_args["temperature_is_one"]:
            logits = logits / output_args["temperature_rmpad"][kept].unsqueeze(-1)
        log_probs = log_softmax(logits, dim=-1)
        tokens = output_args["input_ids_rmpad_rolled"][kept]
        found = {"log_probs": log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)}
        if tu.get_non_tensor_data(data=micro_batch, key="calculate_entropy", default=False):
            found["entropy"] = -(log_probs.exp() * log_probs).sum(-1)
        if tu.get_non_tensor_data(data=micro_batch, key="distillation_use_topk", default=False):
            found |= _teacher_losses(logits, kept, micro_batch, logits_processor_func)
        offsets = micro_batch["input_ids"].offsets()
        size = int(offsets[-1])
        return {
            name: torch.nested.nested_tensor_from_jagged(values.new_zeros(size).index_copy(0, kept, values), offsets)
            for name, values in found.items()
        }


def _teacher_losses(
    logits: torch.Tensor, kept: torch.Tensor, micro_batch: TensorDict, logits_processor_func: Any
) -> dict[str, torch.Tensor]:
    """veRL's losses by what the teacher finds likely, at the places of `logits`; each [num_response_tokens]."""
    likeliest = {
        key: torch.nested.nested_tensor_from_jagged(micro_batch[key].values()[kept], micro_batch["responses"].offsets())
        for key in ("teacher_logprobs", "teacher_ids")
    }
    losses = logits_processor_func(student_logits=logits.unsqueeze(0), data=likeliest)
    return {name: values.squeeze(0) for name, values in losses.items()}


def trained_predictors(micro_batch: TensorDict) -> torch.Tensor:
    """Places in the packed row whose logits predict a trained token, one before each; [num_trained_tokens].

    Those are the response's; of supervised fine-tuning, which tells no response from its prompt, those of `loss_mask`.
    """
    if "responses" not in micro_batch:
        return micro_batch["loss_mask"].values().nonzero().squeeze(-1) - 1
    ends = micro_batch["input_ids"].offsets()[1:].tolist()
    lengths = micro_batch["responses"].offsets().diff().tolist()
    return torch.cat([torch.arange(end - n - 1, end - 1) for end, n in zip(ends, lengths, strict=True)])


@EngineRegistry.register(model_type="value_model", backend=["fsdp", "fsdp2"], device="cpu")
class CpuFSDPEngineWithValueHead(_CpuEngine, upstream.FSDPEngineWithValueHead):
    """Critic."""
