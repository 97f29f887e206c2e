"""Keys of a training's configuration that do nothing: accepted, written down, and read by nobody.

veRL 0.9.1 was written for several trainers and engines, and its V1 trainer with FSDP reads only some of the keys that
its YAML has (`verl_reads`). A key has an effect if it is read, or if one that is read is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from omegaconf import DictConfig, OmegaConf

from router_r1.training.verl_reads import HANDED_ON, keys_read

_OUR_GROUPS = ("experiment", "platform", "mode", "anchor")
_OUR_OWN = ("router_r1", "name", "runs_dir", "run_dir", "seed", "resume", "hydra", *_OUR_GROUPS)

_CRITIC_BUDGET = "the critic's micro-batches go by tokens: critic.ppo_infer_max_token_len_per_gpu"

INSTEAD = {
    "critic.ppo_max_token_len_per_gpu": "set critic.ppo_infer_max_token_len_per_gpu, of both passes",
    "critic.forward_max_token_len_per_gpu": "set critic.ppo_infer_max_token_len_per_gpu, of both passes",
    "critic.ppo_micro_batch_size_per_gpu": _CRITIC_BUDGET,
    "critic.use_dynamic_bsz": _CRITIC_BUDGET,
    "critic.grad_clip": "set critic.optim.clip_grad",
    "actor_rollout_ref.actor.grad_clip": "set actor_rollout_ref.actor.optim.clip_grad",
    "actor_rollout_ref.actor.use_torch_compile": "set actor_rollout_ref.actor.fsdp_config.use_torch_compile",
    "actor_rollout_ref.ref.use_torch_compile": "set actor_rollout_ref.ref.fsdp_config.use_torch_compile",
    "actor_rollout_ref.rollout.val_kwargs.do_sample": "temperature and n beside it decide; temperature 0 is greedy",
}
"""What to set in the place of keys that somebody is likely to set."""

OVERRULED = {
    "actor_rollout_ref.ref.fsdp_config.param_offload": "with fsdp2 the reference model is always kept in host memory",
    "actor_rollout_ref.ref.fsdp_config.optimizer_offload": "the reference model has no optimizer",
}
"""Keys that are read and then overruled (`workers/engine/fsdp/transformer_impl.py`, `_build_fsdp_module`)."""


_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([.\w]+)[,}]")


def without_effect(config: DictConfig, keys: Iterable[str]) -> dict[str, str]:
    """Those of `keys` that nothing reads -> why, or what to set instead.

    Args:
        config: composed and not resolved, so that it shows which keys are made of which.
        keys: dotted; a section stands for all keys in it.
    """
    effective = _effective(config)
    found: dict[str, str] = {}
    for key in keys:
        if key.split(".")[0] in _OUR_OWN:
            continue
        node = OmegaConf.to_container(config, resolve=False)
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        for leaf, _ in _leaves(node, key):
            if leaf in OVERRULED:
                found[leaf] = OVERRULED[leaf]
            elif not leaf.startswith(HANDED_ON) and not effective(leaf):
                found[leaf] = INSTEAD.get(leaf, "nothing in veRL's V1 trainer reads it")
    return found


def _effective(config: DictConfig) -> Callable[[str], bool]:
    """Whether a key is read, or one that is made of it."""
    read, made_of = keys_read(), [(source, key) for key, source in _interpolations(config)]

    def effective(key: str, seen: frozenset[str] = frozenset()) -> bool:
        if key in read or key.startswith((*HANDED_ON, *_OUR_OWN)):
            return True
        return any(
            effective(made, seen | {key})
            for source, made in made_of
            if (key == source or key.startswith(f"{source}.")) and made not in seen
        )

    return effective


def _interpolations(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Each key that is made of another, and that other."""
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        for reference in _REFERENCE.findall(str(value)):
            yield key, _absolute(reference, key.rpartition(".")[0])


def _absolute(reference: str, parent: str) -> str:
    """`.x` is a key beside this one, `..x` one beside its section."""
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    sections = parent.split(".") if parent else []
    return ".".join([*sections[: len(sections) - dots + 1], reference.lstrip(".")])


def _leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """The keys at and below `key` that are no sections, with their values."""
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def overridden(overrides: Sequence[str]) -> list[str]:
    """The dotted keys that command-line overrides set."""
    return [override.split("=", 1)[0].lstrip("+") for override in overrides if "=" in override]
