"""LoRA: an adapter is trained instead of all weights, and a checkpoint holds the model with the adapter merged in.

veRL 0.9.1 writes a policy with an adapter in PEFT's names (`utils/checkpoint/fsdp_checkpoint_manager.py`): the base
model's weights and, beside them, the two small matrices of each that is adapted. No engine loads such a folder. Here
they are merged once, W + (alpha / rank) B A (Hu et al., 2021, section 4.1), and renamed, so that evaluation, the server
and every other program read a plain model. veRL's own files, from which a run goes on, stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from router_r1.atomic import write_text
from router_r1.errors import ConfigError

if TYPE_CHECKING:
    import torch  # imported for real only when an adapter is merged

_PREFIX, _BASE, _LORA_A, _LORA_B = "base_model.model.", ".base_layer.", ".lora_A.default.", ".lora_B.default."
_INDEX = "model.safetensors.index.json"
_META = "lora_train_meta.json"


def check_lora(config: DictConfig) -> None:
    """Refuse a resolved configuration whose adapter cannot be.

    Raises:
        ConfigError: its rank or alpha.
    """
    rank, alpha = config.router_r1.lora.rank, config.router_r1.lora.alpha
    if not isinstance(rank, int) or rank < 0:
        raise ConfigError("configuration", "router_r1.lora.rank", rank, "must be a whole number; 0 trains all weights")
    if rank and not (isinstance(alpha, int) and alpha > 0):
        raise ConfigError("configuration", "router_r1.lora.alpha", alpha, "must be a whole number of at least 1")
    if rank and not OmegaConf.select(config, "actor_rollout_ref.model.lora.merge"):
        remedy = "an adapter is merged into the weights that the engine gets: nothing else was tried; set it to true"
        raise ConfigError("configuration", "actor_rollout_ref.model.lora.merge", False, remedy)


def merge_adapter(actor: Path) -> bool:
    """Make `actor`/huggingface a plain model; False if it is one.

    File by file, so that one of them and the adapter are in memory.

    Args:
        actor: the policy's part of a checkpoint, as veRL wrote it.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    meta = actor / _META
    files = sorted((actor / "huggingface").glob("*.safetensors"))
    if not meta.is_file() or not files:
        return False
    facts = json.loads(meta.read_text(encoding="utf-8"))
    scale = facts["lora_alpha"] / facts["r"]
    adapter: dict[str, torch.Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            adapter |= {name: tensors.get_tensor(name) for name in tensors.keys() if _is_adapter(name)}  # noqa: SIM118
    if not adapter:
        return False
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            merged = {
                plain_name(name): _merged(tensors.get_tensor(name), name, adapter, scale)
                for name in tensors.keys()  # noqa: SIM118  no dict
                if not _is_adapter(name)
            }
        written = file.with_suffix(".merged")
        save_file(merged, written, metadata={"format": "pt"})
        written.replace(file)
    _rename_in_index(actor / "huggingface" / _INDEX)
    return True


def plain_name(name: str) -> str:
    """A weight's name in the base model, of its name in PEFT's."""
    return name.removeprefix(_PREFIX).replace(_BASE, ".")


def _is_adapter(name: str) -> bool:
    return _LORA_A in name or _LORA_B in name


def _merged(weight: torch.Tensor, name: str, adapter: Mapping[str, torch.Tensor], scale: float) -> torch.Tensor:
    down, up = (adapter.get(name.replace(_BASE, part)) for part in (_LORA_A, _LORA_B))
    if _BASE not in name or down is None or up is None:
        return weight
    return (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)


def _rename_in_index(index: Path) -> None:
    """The index of a model in several files says which file has which weight."""
    if not index.is_file():
        return
    content = json.loads(index.read_text(encoding="utf-8"))
    places = {plain_name(name): file for name, file in content["weight_map"].items() if not _is_adapter(name)}
    content["weight_map"] = places
    write_text(index, json.dumps(content, indent=2) + "\n")
