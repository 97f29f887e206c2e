"""Counts that do not fit each other are refused before anything is paid, with the nearest that do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError
from router_r1.training.batches import check_batches


def settings(nodes=1, gpus=1, *, batch=64, mini=32, n=1, estimator="gae", **changes) -> DictConfig:
    """What of a resolved configuration is divided by what; the longest trajectory has 100 tokens."""
    config = OmegaConf.create(
        {
            "algorithm": {"adv_estimator": estimator, "filter_groups": {"enable": False}},
            "data": {"train_batch_size": batch, "max_prompt_length": 40, "max_response_length": 60},
            "actor_rollout_ref": {
                "actor": {
                    "ppo_mini_batch_size": mini,
                    "use_dynamic_bsz": True,
                    "ppo_max_token_len_per_gpu": 100,
                    "fsdp_config": {"ulysses_sequence_parallel_size": 1},
                },
                "rollout": {"n": n, "tensor_model_parallel_size": 1},
            },
            "critic": {
                "enable": None,
                "ppo_mini_batch_size": mini,
                "ppo_infer_max_token_len_per_gpu": 100,
                "fsdp": {"ulysses_sequence_parallel_size": 1},
            },
            "trainer": {"nnodes": nodes, "n_gpus_per_node": gpus, "v1": {"trainer_mode": "sync", "sync": {}}},
        }
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


def refusal(config: DictConfig) -> str:
    with pytest.raises(ConfigError) as told:
        check_batches(config)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("n", "nodes", "gpus"),
    [(1, 1, 1), (1, 1, 2), (1, 1, 8), (1, 2, 8), (8, 1, 8), (8, 8, 8), (3, 1, 6), (8, 32, 8)],
)
def test_a_mini_batch_that_is_shared_out_evenly_is_sound(n, nodes, gpus):
    check_batches(settings(nodes, gpus, n=n))


def test_six_gpus_are_refused_with_the_nearest_counts_and_the_nearest_batches():
    assert refusal(settings(gpus=6)) == (
        "configuration: trainer.n_gpus_per_node = 6: a mini-batch of 32 trajectories "
        "(actor_rollout_ref.actor.ppo_mini_batch_size 32 x rollout.n 1) cannot be shared out evenly among 6 GPUs; "
        "4 or 8 GPUs would do, or for 6 set actor_rollout_ref.actor.ppo_mini_batch_size=30 data.train_batch_size=60"
    )


def test_of_several_nodes_the_nearest_number_of_such_nodes_is_named():
    told = refusal(settings(8, 8))

    assert "trainer.nnodes x trainer.n_gpus_per_node = '8 x 8'" in told
    assert "4 nodes of 8 GPUs would do" in told
    assert "for 64 set actor_rollout_ref.actor.ppo_mini_batch_size=64 data.train_batch_size=64" in told


@given(gpus=st.integers(1, 80), mini=st.integers(1, 200), n=st.sampled_from([1, 2, 5, 8]), steps=st.integers(1, 4))
def test_whatever_is_proposed_works(gpus, mini, n, steps):
    try:
        check_batches(settings(gpus=gpus, mini=mini, batch=mini * steps, n=n))
    except ConfigError as fault:
        counts = re.search(r"([\d or]+) GPUs would do", str(fault))
        for count in re.findall(r"\d+", counts[1]) if counts else []:
            check_batches(settings(gpus=int(count), mini=mini, batch=mini * steps, n=n))
        better_mini, batch = map(int, re.findall(r"_batch_size=(\d+)", str(fault)))
        check_batches(settings(gpus=gpus, mini=better_mini, batch=batch, n=n))
    else:
        assert mini * n % gpus == 0


def test_sequence_parallel_groups_share_a_trajectory_and_so_count_as_one():
    """2 x 4 GPUs in groups of 4 are two ranks; the critic has groups of its own."""
    groups = {
        "actor_rollout_ref__actor__fsdp_config__ulysses_sequence_parallel_size": 4,
        "critic__fsdp__ulysses_sequence_parallel_size": 4,
    }
    check_batches(settings(gpus=8, mini=2, batch=4, **groups))
    assert "sequence-parallel groups of 4" in refusal(settings(gpus=6, mini=6, batch=6, **groups))


def test_gpus_that_do_not_come_out_even_in_engines_are_refused():
    told = refusal(settings(gpus=2, actor_rollout_ref__rollout__tensor_model_parallel_size=4))

    assert "2 GPUs do not come out even in engines of 4 (actor_rollout_ref.rollout.tensor_model_parallel_size)" in told
    assert "4 GPUs would do" in told


@pytest.mark.parametrize("count", [0, -1, 1.5, None])
def test_a_count_of_gpus_that_is_none_is_refused(count):
    assert f"trainer.n_gpus_per_node{'' if count is None else f' = {count}'}: must be a whole" in refusal(
        settings(gpus=count)
    )


def test_a_mini_batch_must_divide_the_step_and_the_critics_is_looked_at_only_where_there_is_one():
    assert "actor.ppo_mini_batch_size = 48: must divide data.train_batch_size (64)" in refusal(settings(mini=48))
    own = {"critic__ppo_mini_batch_size": 48}
    assert "critic.ppo_mini_batch_size = 48: must divide" in refusal(settings(**own))
    check_batches(settings(estimator="grpo", n=8, **own))


def test_a_trainer_that_updates_several_times_a_step_needs_whole_mini_batches_in_each():
    mode = {"trainer__v1__trainer_mode": "separate_async", "trainer__v1__separate_async__parameter_sync_step": 4}

    check_batches(settings(mini=16, **mode))
    assert "must divide data.train_batch_size (64) / parameter_sync_step (4)" in refusal(settings(mini=32, **mode))
    assert "parameter_sync_step = 4: must divide data.train_batch_size (66)" in refusal(
        settings(batch=66, mini=33, **mode)
    )


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "opo"])
def test_an_estimator_that_compares_trajectories_is_refused_a_single_one_per_question(estimator):
    assert f"rollout.n = 1: {estimator.upper()} compares" in refusal(settings(estimator=estimator, n=1))


def test_groups_of_one_cannot_be_filtered():
    told = refusal(settings(estimator="reinforce_plus_plus", n=1, algorithm__filter_groups__enable=True))

    assert "rollout.n = 1: algorithm.filter_groups looks for groups" in told


@pytest.mark.parametrize(
    "key", ["actor_rollout_ref.actor.ppo_max_token_len_per_gpu", "critic.ppo_infer_max_token_len_per_gpu"]
)
def test_a_micro_batch_must_hold_the_longest_trajectory(key):
    told = refusal(settings(**{key.replace(".", "__"): 99}))

    assert told == (
        f"configuration: {key} = 99: the longest trajectory has 100 tokens (data.max_prompt_length + "
        "data.max_response_length), and one micro-batch must hold it: at least 100"
    )


def test_two_gpus_that_share_a_trajectory_hold_half_of_it_each():
    shared = {"actor_rollout_ref__actor__fsdp_config__ulysses_sequence_parallel_size": 2}
    check_batches(settings(gpus=2, actor_rollout_ref__actor__ppo_max_token_len_per_gpu=50, **shared))
