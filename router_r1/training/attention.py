"""Which attention a training computes with. On GPUs without flash-attn: torch's own, where veRL allows that.

With `sdpa` sequences are padded instead of packed, since transformers packs for flash-attention's kernels only. veRL
0.9.1 loads a critic with flash-attention whatever is configured (`verl.utils.model.load_valuehead_model`), so that an
estimator without a critic is needed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from router_r1.atomic import write_text
from router_r1.errors import ConfigError
from router_r1.machine import accelerators
from router_r1.training.batches import uses_critic

_MODEL = "actor_rollout_ref.model"
_ATTENTION = "{}.override_config.attn_implementation"
_PACKING = "{}.use_remove_padding"


def is_missing(platform: str | None) -> bool:
    """Whether a training on this machine's GPUs would want flash-attn in vain. Elsewhere nothing can be said of it."""
    return platform == "gpu" and accelerators() > 0 and importlib.util.find_spec("flash_attn") is None


def substitute(platform: str | None, given: Collection[str], *, model: str = _MODEL) -> list[str]:
    """Overrides that make a training do without flash-attn; none where it is there, or the user has chosen.

    Args:
        given: the keys that the user has overridden.
        model: the key of the model.
    """
    attention, packing = _ATTENTION.format(model), _PACKING.format(model)
    if not is_missing(platform) or attention in given:
        return []
    return [f"++{attention}=sdpa", *([] if packing in given else [f"{packing}=false"])]


def missing(config: DictConfig) -> list[ConfigError]:
    """What a resolved configuration wants of flash-attn that is not installed."""
    if not is_missing("gpu" if config.trainer.device == "cuda" else None):
        return []
    if uses_critic(config):
        remedy = (
            "has a critic, which veRL loads with flash-attention, and flash_attn is not installed: scripts/setup.sh "
            "--gpu on Python 3.12 has a wheel; without it take an estimator that has no critic: "
            "algorithm.adv_estimator=grpo"
        )
        return [ConfigError("configuration", "algorithm.adv_estimator", config.algorithm.adv_estimator, remedy)]
    key = _ATTENTION.format(_MODEL)
    attention = OmegaConf.select(config, key)
    if attention in (None, "flash_attention_2"):
        remedy = f"is flash-attention's, which is not installed: set it to sdpa, and {_PACKING.format(_MODEL)}=false"
        return [ConfigError("configuration", key, attention, remedy)]
    return []


def forget_attention(folder: Path) -> None:
    """Take out of the configurations of the models in `*/huggingface` which attention the trainer computed with.

    veRL writes it there, and whoever loads the model would be asked for the same: on a CPU for one that only the
    trainer has (`training/cpu/packed_attention.py`).
    """
    for file in folder.glob("*/huggingface/config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        if config.pop("attn_implementation", None) is not None:
            write_text(file, json.dumps(config, indent=2) + "\n")
