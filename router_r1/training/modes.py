"""What goes on at the same time in a training (`verl/mode/`): its rules, and what it comes to in words.

Outside `sync` a trajectory may be of earlier versions of the policy than the one that learns from it. How much earlier
is bounded by `trainer.v1.sampler.max_off_policy_threshold` (veRL 0.9.1, `trainer/ppo/v1/replay_buffer.py`): a step
waits for trajectories that were asked that many steps ago, its own included.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError

SYNC, ASYNC, SEPARATE = "sync", "async", "separate"
MODES = {SYNC: "sync", ASYNC: "colocate_async", SEPARATE: "separate_async"}
"""Mode -> `trainer.v1.trainer_mode`, veRL's name for it."""
_BY_TRAINER = {trainer: mode for mode, trainer in MODES.items()}
_V1, _ROLLOUT = "trainer.v1", "actor_rollout_ref.rollout"


def mode_of(config: DictConfig) -> str:
    """`sync`, `async` or `separate`, by the trainer of veRL that is chosen.

    Raises:
        ConfigError: it is none of veRL's.
    """
    trainer = OmegaConf.select(config, f"{_V1}.trainer_mode") or SYNC
    if trainer not in _BY_TRAINER:
        remedy = f"is no trainer of veRL; say mode={' | '.join(MODES)}"
        raise ConfigError("configuration", f"{_V1}.trainer_mode", trainer, remedy)
    return _BY_TRAINER[trainer]


def max_staleness(config: DictConfig) -> int | None:
    """How many versions of the policy a trajectory may be behind when it is trained on; None if nothing bounds it."""
    if mode_of(config) == SYNC:
        return 0
    threshold = OmegaConf.select(config, f"{_V1}.sampler.max_off_policy_threshold")
    return None if threshold is None else int(threshold) - 1


def described(config: DictConfig) -> str:
    """The mode in a few words, for the line on a run."""
    mode = mode_of(config)
    if mode == SYNC:
        return SYNC
    bound = max_staleness(config)
    behind = "any number of versions behind" if bound is None else f"up to {bound} versions behind"
    return f"{mode} (trajectories {behind})"


def check_mode(config: DictConfig) -> None:
    """Refuse a resolved configuration whose mode cannot work as it is set.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    mode = mode_of(config)
    _check_correction(config)
    if mode == SYNC:
        return
    _check_bound(config, MODES[mode])
    if mode == SEPARATE:
        _check_separate(config)


def _check_correction(config: DictConfig) -> None:
    """veRL leaves the correction out in silence where the engine's log-probs are not kept."""
    if OmegaConf.select(config, "algorithm.rollout_correction.rollout_is") is None:
        return
    if not OmegaConf.select(config, f"{_ROLLOUT}.calculate_log_probs"):
        remedy = "algorithm.rollout_correction needs the engine's log-probs: set it to true, or rollout_is to null"
        raise ConfigError("configuration", f"{_ROLLOUT}.calculate_log_probs", False, remedy)


def _check_bound(config: DictConfig, trainer: str) -> None:
    key, sampler = f"{_V1}.sampler.max_off_policy_threshold", f"{_V1}.sampler"
    threshold: Any = OmegaConf.select(config, key)
    ahead: Any = OmegaConf.select(config, f"{_V1}.{trainer}.num_warmup_batches")
    if threshold is None:
        return
    if not isinstance(threshold, int) or threshold < 1:
        raise ConfigError("configuration", key, threshold, "must be a whole number of at least 1, or null for no bound")
    if not isinstance(ahead, int | float) or ahead < 0:
        raise ConfigError("configuration", f"{_V1}.{trainer}.num_warmup_batches", ahead, "must be a number from 0 on")
    if ahead >= threshold:
        # Questions that are asked n steps ahead are trained on n steps later, whatever anybody waits for.
        remedy = f"questions are asked {ahead:g} steps ahead (num_warmup_batches), so it must be more than that"
        raise ConfigError("configuration", key, threshold, remedy)
    strategy = OmegaConf.select(config, f"{sampler}.max_off_policy_strategy")
    if strategy not in ("wait", "drop"):
        raise ConfigError("configuration", f"{sampler}.max_off_policy_strategy", strategy, "must be wait or drop")


def _check_separate(config: DictConfig) -> None:
    backend = OmegaConf.select(config, f"{_ROLLOUT}.checkpoint_engine.backend")
    if backend == "naive":
        remedy = "copies weights within a process only; nccl sends them to others"
        raise ConfigError("configuration", f"{_ROLLOUT}.checkpoint_engine.backend", backend, remedy)
    for key in ("nnodes", "n_gpus_per_node"):
        count = OmegaConf.select(config, f"{_ROLLOUT}.{key}")
        if not isinstance(count, int) or count < 1:
            remedy = "GPUs of its own write trajectories: at least 1"
            raise ConfigError("configuration", f"{_ROLLOUT}.{key}", count, remedy)
    batch, mini = config.data.train_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    updates = OmegaConf.select(config, f"{_V1}.separate_async.parameter_sync_step")
    if batch != updates * mini:
        remedy = (
            f"times actor_rollout_ref.actor.ppo_mini_batch_size ({mini}) must be data.train_batch_size ({batch}): "
            "an update takes one mini-batch"
        )
        raise ConfigError("configuration", f"{_V1}.separate_async.parameter_sync_step", updates, remedy)
