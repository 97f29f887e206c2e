"""The setting that is chosen fits, is the fastest of the list that does, and leaves alone what the user said."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

from router_r1.errors import ConfigError
from router_r1.training.sizing import memory, profiles
from router_r1.training.sizing.gpus import USABLE_GIB, Gpu, parse_gpus
from router_r1.training.sizing.job import overrides_between
from tests.unit.training.sizing.jobs import LLAMA_3B, QWEN_3B, job, size_of

SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
LORA = {"lora_rank": 32, "critic_lora_rank": 32, "has_reference": False}


def chosen(gpus: str, model: str = QWEN_3B, **changes: object) -> profiles.Fit:
    cluster = parse_gpus(gpus)
    return profiles.choose(size_of(model), job(cluster.size, **changes), cluster.gpu)


@pytest.mark.parametrize("gpus", ["4xH100-80", "8xH100-80", "8xA100-80"])
def test_from_four_gpus_of_80_gb_on_nothing_is_offloaded_and_no_micro_batch_is_cut(gpus):
    fit = chosen(gpus)

    assert fit.fits
    assert not any((fit.job.offloads_optimizer, fit.job.offloads_parameters, fit.job.fuses_logits))
    assert fit.job.token_budget == 24576


def test_on_two_of_80_gb_the_optimizers_wait_in_the_hosts_memory_or_micro_batches_are_smaller():
    fit = chosen("2xH100-80")

    assert fit.fits
    assert overrides_between(job(2), fit.job)


def test_on_one_of_80_gb_everything_is_offloaded_and_on_one_of_24_an_adapter_of_a_small_model_fits():
    one = chosen("1xH100-80")

    assert one.fits
    assert one.job.offloads_optimizer
    assert chosen("1xRTX4090-24", SMALL, **LORA).fits
    assert not chosen("1xRTX4090-24").fits


def test_the_engine_gets_what_its_trajectories_want_and_no_more():
    """Two times 8 trajectories of 11,616 tokens x 36,864 bytes are 6.4 GiB: far below the 0.6 that are configured."""
    share = chosen("8xH100-80").job.utilisation

    assert share < 0.35
    held = memory.kv_tokens(size_of(QWEN_3B), chosen("8xH100-80").job, Gpu("H100-80", USABLE_GIB["H100-80"]))
    assert held >= 2 * 8 * 11616


@settings(deadline=None)
@given(
    st.sampled_from([QWEN_3B, LLAMA_3B, SMALL]),
    st.sampled_from([1, 2, 4, 8]),
    st.floats(16, 180),
    st.booleans(),
    st.sampled_from([0, 32]),
    st.integers(2048, 16384),
)
def test_whatever_is_chosen_fits_in_every_phase_with_room_for_the_longest_trajectory(
    model, gpus, gib, has_critic, rank, length
):
    some = job(gpus, has_critic=has_critic, lora_rank=rank, critic_lora_rank=rank, max_length=length)
    gpu, size = Gpu("some", gib), size_of(model)

    fit = profiles.choose(size, some, gpu)

    if fit.fits:
        assert memory.largest(memory.phases(size, fit.job, gpu)).total_gib <= memory.limit_gib(gpu)
        assert memory.kv_tokens(size, fit.job, gpu) >= length
        assert min(fit.job.token_budget, fit.job.critic_token_budget) >= length
    # What fits fits on larger GPUs, and on more.
    if fit.fits:
        assert profiles.choose(size, some, Gpu("larger", gib * 1.2)).fits
        assert profiles.choose(size, some.on(2 * gpus, 1), gpu).fits


def test_what_the_user_said_is_not_chosen_anew():
    cluster = parse_gpus("1xH100-80")
    some = job(1, utilisation=0.3)

    fit = profiles.choose(size_of(QWEN_3B), some, cluster.gpu, fixed={"utilisation", "offloads_optimizer"})

    assert (fit.job.utilisation, fit.job.offloads_optimizer) == (0.3, False)


def test_the_overrides_name_the_policy_and_its_critic_if_it_has_one():
    before, after = job(1), job(1, offloads_optimizer=True, critic_token_budget=24576, utilisation=0.35)

    assert overrides_between(before, after) == [
        "actor_rollout_ref.actor.fsdp_config.optimizer_offload=true",
        "critic.fsdp.optimizer_offload=true",
        "++critic.ppo_infer_max_token_len_per_gpu=24576",
        "actor_rollout_ref.rollout.gpu_memory_utilization=0.35",
    ]
    without = overrides_between(job(1, has_critic=False), job(1, has_critic=False, offloads_optimizer=True))
    assert without == ["actor_rollout_ref.actor.fsdp_config.optimizer_offload=true"]


def test_what_does_not_fit_names_the_fewest_gpus_a_cheaper_training_and_a_larger_type():
    cluster = parse_gpus("1xA100-40")
    size, some = size_of(QWEN_3B), job(1)
    assert not profiles.choose(size, some, cluster.gpu).fits

    told = profiles.nearest(size, some, cluster)

    assert told[0].startswith("--gpus 2xA100-40") or told[0].startswith("--gpus 4xA100-40")
    assert any("lora_rank=32" in words or "adv_estimator=grpo" in words for words in told)
    assert told[-1].startswith("--gpus 1x")
    for words in told:
        if words.startswith("--gpus "):
            other = parse_gpus(words.removeprefix("--gpus "))
            assert profiles.choose(size, some.on(other.per_node, other.nodes), other.gpu).fits


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token_budget": 8192}, "a micro-batch of 8,192 tokens holds no trajectory of 11,616"),
        ({"utilisation": 0.1}, "the engine's share of 0.1 leaves a KV cache of 0 tokens"),
        ({"has_entropy_in_update": True, "gpus": 1}, r"its rollout needs \d+ GiB per GPU, and of 79 it may take 75"),
    ],
)
def test_what_is_in_the_way_is_said_in_words(changes, told):
    import re

    fit = profiles.fit_of(size_of(QWEN_3B), job(**({"gpus": 8} | changes)), parse_gpus("H100-80").gpu)

    assert re.search(told, fit.problem)


# ---------------------------------------------------------------- how GPUs are written


@pytest.mark.parametrize(
    ("text", "told", "size"),
    [
        ("4xH100-80", "4xH100-80", 4),
        ("2x8xa100-40", "2x8xA100-40", 16),
        ("h200-141", "1xH200-141", 1),
        ("1x24", "1xGPU-24", 1),
        ("2xRTX 6000-48gb", "2xRTX 6000-48", 2),
    ],
)
def test_gpus_are_written_as_count_type_and_memory(text, told, size):
    cluster = parse_gpus(text)

    assert (str(cluster), cluster.size) == (told, size)
    assert str(parse_gpus(str(cluster))) == told


@pytest.mark.parametrize("text", ["", "four", "0xH100-80", "4xH100", "4x", "-1x80", "4x4x4x80"])
def test_anything_else_is_refused_with_the_known_types(text):
    with pytest.raises(ConfigError, match="must look like 4xH100-80 or 2x8xA100-40; known types are A10-24"):
        parse_gpus(text)
