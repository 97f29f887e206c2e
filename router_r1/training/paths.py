"""Paths of a training's configuration, made absolute: the processes that read them start in other folders.

A worker of a Ray cluster starts where `ray start` was run on its machine.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from router_r1 import plugins

_FILES = (
    "data.train_files",
    "data.val_files",
    "router_r1.routing.cache_file",
    "router_r1.routing.trace_file",
    "router_r1.sim.qa_root",
)
"""Keys that hold a path, or a list of them, whether it is there yet or not."""

_FILES_OR_NAMES = (
    "actor_rollout_ref.model.lora_adapter_path",
    "actor_rollout_ref.model.path",
    "actor_rollout_ref.model.tokenizer_path",
    "critic.model.path",
    "critic.model.tokenizer_path",
    "router_r1.pool",
    "router_r1.sim.build_on",
    "router_r1.sim.warm_start",
    "router_r1.template",
)
"""Keys that hold a path, or the name of something that comes with the project or lies on a hub."""


def make_absolute(config: DictConfig) -> None:
    """Make every path of a resolved configuration absolute, seen from the current folder; addresses stay."""
    for key in (*_FILES, *_FILES_OR_NAMES):
        value = OmegaConf.select(config, key)
        if value:
            OmegaConf.update(config, key, _anchored(value, is_path=key in _FILES))
    terms = OmegaConf.select(config, "router_r1.reward.terms")
    if isinstance(terms, DictConfig):
        terms.update({name: plugins.anchored(term) for name, term in terms.items() if isinstance(term, str)})


def _anchored(value: object, *, is_path: bool) -> object:
    if isinstance(value, ListConfig):
        return [_anchored(one, is_path=is_path) for one in value]
    if not isinstance(value, str) or "://" in value:
        return value
    path = Path(value).expanduser()
    return str(path.absolute()) if is_path or path.exists() else value
