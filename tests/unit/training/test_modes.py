"""What goes on at the same time in a training: one switch, bounds that hold, and what cannot be refused before."""

from __future__ import annotations

import copy

import pytest
from omegaconf import DictConfig

from router_r1.errors import ConfigError
from router_r1.training import configuration as cfg
from router_r1.training import modes

RUN = {"name": "x", "run_dir": "/x"}


@pytest.fixture(autouse=True)
def _a_machine_without_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def composed(*overrides: str) -> DictConfig:
    config = cfg.compose_config(overrides)
    cfg.set_values(config, RUN)
    return cfg.resolve(config)


@pytest.fixture(scope="module")
def in_mode():
    """The default configuration in a mode; composing one takes a second."""
    made = {mode: cfg.compose_config([f"mode={mode}", "platform=cpu"]) for mode in ("sync", "async", "separate")}

    def change(mode: str, **values: object) -> DictConfig:
        config = copy.deepcopy(made[mode])
        cfg.set_values(config, RUN | {key.replace("__", "."): value for key, value in values.items()})
        return cfg.resolve(config)

    return change


@pytest.mark.parametrize(
    ("mode", "trainer", "staleness"),
    [("sync", "sync", 0), ("async", "colocate_async", 2), ("separate", "separate_async", 2)],
)
def test_one_word_chooses_the_trainer_and_bounds_how_old_a_trajectory_may_be(in_mode, mode, trainer, staleness):
    config = in_mode(mode)

    cfg.check_settings(config)
    assert config.trainer.v1.trainer_mode == trainer
    assert (modes.mode_of(config), modes.max_staleness(config)) == (mode, staleness)


def test_without_a_word_on_it_nothing_is_trained_on_that_an_earlier_policy_wrote(in_mode):
    assert modes.mode_of(composed("platform=cpu")) == "sync"
    assert modes.described(in_mode("sync")) == "sync"
    assert modes.described(in_mode("async")) == "async (trajectories up to 2 versions behind)"


def test_what_is_paid_for_is_waited_for_and_not_dropped(in_mode):
    for mode in ("async", "separate"):
        assert in_mode(mode).trainer.v1.sampler.max_off_policy_strategy == "wait"


@pytest.mark.parametrize("mode", ["sync", "async", "separate"])
def test_engine_and_trainer_are_corrected_for_token_by_token_wherever_they_may_differ(in_mode, mode):
    correction = in_mode(mode).algorithm.rollout_correction

    assert (correction.rollout_is, correction.rollout_is_threshold, correction.bypass_mode) == ("token", 2.0, False)


def test_gpus_of_their_own_write_and_a_step_is_as_many_updates_as_it_has_mini_batches():
    config = composed("mode=separate", "platform=gpu", "trainer.n_gpus_per_node=4")
    rollout, batch = config.actor_rollout_ref.rollout, config.data.train_batch_size

    assert (rollout.nnodes, rollout.n_gpus_per_node, rollout.checkpoint_engine.backend) == (1, 4, "nccl")
    updates = config.trainer.v1.separate_async.parameter_sync_step
    assert updates * config.actor_rollout_ref.actor.ppo_mini_batch_size == batch


@pytest.mark.parametrize(("mode", "trains"), [("sync", 8), ("separate", 4)])
def test_of_the_gpus_that_are_there_half_train_where_the_others_write(monkeypatch, mode, trains):
    monkeypatch.setattr(cfg, "accelerators", lambda: 8)
    config = composed(f"mode={mode}", "platform=gpu", "experiment=qwen2.5_3b")

    assert config.trainer.n_gpus_per_node == trains


def test_one_gpu_cannot_be_divided(monkeypatch):
    monkeypatch.setattr(cfg, "accelerators", lambda: 1)
    with pytest.raises(ConfigError, match=r"mode = 'separate': needs 2 GPUs at least, and there is 1; mode=async"):
        cfg.compose_config(["mode=separate", "platform=gpu", "experiment=qwen2.5_3b"])


def test_without_gpus_each_process_that_trains_or_writes_is_one_of_rays_devices(in_mode):
    assert in_mode("async").ray_kwargs.ray_init.num_gpus == 1
    assert in_mode("separate", trainer__n_gpus_per_node=2).ray_kwargs.ray_init.num_gpus == 4


def test_a_mode_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="mode = 'fast': is no mode; there are async, separate, sync"):
        cfg.compose_config(["mode=fast"])


@pytest.mark.parametrize(
    ("mode", "changes", "words"),
    [
        ("async", {"trainer__v1__trainer_mode": "other"}, "is no trainer of veRL; say mode=sync | async | separate"),
        ("async", {"trainer__v1__sampler__max_off_policy_threshold": 0}, "must be a whole number of at least 1"),
        ("async", {"trainer__v1__sampler__max_off_policy_strategy": "skip"}, "must be wait or drop"),
        ("async", {"trainer__v1__colocate_async__num_warmup_batches": -1}, "must be a number from 0 on"),
        ("async", {"trainer__v1__colocate_async__num_warmup_batches": 3}, "asked 3 steps ahead .* must be more than"),
        ("separate", {"actor_rollout_ref__rollout__nnodes": 0}, "GPUs of its own write trajectories: at least 1"),
        ("separate", {"actor_rollout_ref__rollout__checkpoint_engine__backend": "naive"}, "within a process only"),
        ("separate", {"trainer__v1__separate_async__parameter_sync_step": 2}, "an update takes one mini-batch"),
        ("sync", {"actor_rollout_ref__rollout__calculate_log_probs": False}, "needs the engine's log-probs"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_paid(in_mode, mode, changes, words):
    with pytest.raises(ConfigError, match=words):
        cfg.check_settings(in_mode(mode, **changes))


def test_nothing_but_ones_own_word_takes_the_bound_away(in_mode):
    config = in_mode("async", trainer__v1__sampler__max_off_policy_threshold=None)

    cfg.check_settings(config)
    assert "any number of versions behind" in modes.described(config)
