"""How large a model is, counted on torch's meta device from its `config.json`: exact, without a weight being read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.errors import ConfigError
from router_r1.rollout.model_folder import model_config
from router_r1.training.sizing.known_models import KNOWN_MODELS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What memory depends on; widths are in elements per token."""

    name: str
    parameters: int  # of the policy; tied embeddings count once
    value_parameters: int  # of the same model as a critic: no LM head, but a row for the value
    layer_parameters: int  # of the largest decoder layer
    lora_width: int  # sum over the adapted matrices of (inputs + outputs): times the rank, an adapter's parameters
    num_layers: int
    hidden: int
    intermediate: int  # of a token's MLP; of a mixture of experts, of all experts that a token visits
    kv_width: int  # of keys, and as many of values
    kv_heads: int
    vocabulary: int
    is_tied: bool  # input and output embeddings are one matrix

    @property
    def head_parameters(self) -> int:
        """Parameters of the matrix that makes logits."""
        return self.vocabulary * self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Parameters of an adapter [Hu et al., 2021]: `rank` x (inputs + outputs) for each matrix."""
        return rank * self.lora_width

    @property
    def kv_bytes(self) -> int:
        """Bytes of KV cache per token in bfloat16, on one GPU: keys and values of every layer."""
        return 2 * self.num_layers * self.kv_width * 2


@lru_cache(maxsize=8)  # a training asks for it three times, and it takes seconds
def model_size(model: str, source: str, key: str) -> ModelSize:
    """Count a model.

    Args:
        model: a folder with `config.json`, or a hub id whose file is in the hub's local cache, or which is known here.
            The hub itself is not asked.
        source: where the model is named, for the error.
        key: by which key.

    Raises:
        ConfigError: there is no such file on this machine, or transformers has no such architecture.
    """
    facts = _config_of(model)
    if facts is None:
        remedy = f"its config.json is not on this machine; give a folder, or fetch it: hf download {model} config.json"
        raise ConfigError(source, key, model, remedy)
    return _count(model, _read(facts, source, key, model))


def _config_of(model: str) -> dict[str, Any] | None:
    if facts := model_config(model):
        return facts
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "config.json")
    except HFValidationError:  # a path, not a hub id
        return None
    if isinstance(cached, str):
        found: dict[str, Any] = json.loads(Path(cached).read_text(encoding="utf-8"))
        return found
    return KNOWN_MODELS.get(model)


def _read(facts: dict[str, Any], source: str, key: str, model: str) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.for_model(**facts)
    except (KeyError, TypeError, ValueError) as fault:
        reason = " ".join(str(fault).split())
        raise ConfigError(source, key, model, f"its config.json cannot be used: {reason}") from None
    return config


def _count(name: str, config: PretrainedConfig) -> ModelSize:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    layers = [m for m in model.modules() if type(m).__name__ in (model._no_split_modules or ())]
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    return ModelSize(
        name=name,
        parameters=_parameters(model),
        value_parameters=_parameters(model.base_model) + text.hidden_size + 1,
        layer_parameters=max(map(_parameters, layers), default=_parameters(model) // text.num_hidden_layers),
        lora_width=sum(matrix.in_features + matrix.out_features for matrix in linear),
        num_layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=_intermediate(text),
        kv_width=kv_heads * head_dim,
        kv_heads=kv_heads,
        vocabulary=text.vocab_size,
        is_tied=bool(text.tie_word_embeddings),
    )


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _intermediate(text: Any) -> int:
    experts = getattr(text, "num_experts_per_tok", None)
    if not experts:
        return int(text.intermediate_size)
    shared = getattr(text, "shared_expert_intermediate_size", None) or 0
    return int(experts * (getattr(text, "moe_intermediate_size", None) or text.intermediate_size) + shared)
