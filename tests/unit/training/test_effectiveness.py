"""Keys that nothing reads are told: none of the project's own files sets one, and a user hears of his."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from router_r1.project_files import project_root
from router_r1.training import configuration as cfg
from router_r1.training import effectiveness, verl_reads

pytest.importorskip("verl")

OUR_FILES = [
    *(
        file
        for file in Path(project_root(), "verl").rglob("*.yaml")
        if not file.relative_to(project_root()).parts[1].startswith("sft")
    ),  # of another trainer
    *Path(project_root(), "configs/experiment").glob("*.yaml"),
]


@pytest.fixture(scope="module")
def config():
    return cfg.compose_config(["platform=gpu", "experiment=qwen2.5_3b", "trainer.n_gpus_per_node=8"])


def keys_of(node: object, key: str = "") -> list[str]:
    if isinstance(node, dict) and node:
        return [leaf for name, value in node.items() for leaf in keys_of(value, f"{key}.{name}".lstrip("."))]
    return [key]


def test_the_table_of_verls_source_is_of_the_installed_release():
    assert version("verl") == "0.9.1", "read training/verl_reads.py against the new release"


def test_none_of_our_files_sets_a_key_that_does_nothing(config):
    settings = [yaml.safe_load(file.read_text()) for file in OUR_FILES if file.name != "agent_loop.yaml"]
    keys = {key for part in settings for key in keys_of(part) if not key.startswith("defaults")}

    assert len(keys) > 100
    assert effectiveness.without_effect(config, sorted(keys)) == {}


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("critic.ppo_max_token_len_per_gpu", "critic.ppo_infer_max_token_len_per_gpu"),
        ("critic.use_dynamic_bsz", "go by tokens"),
        ("critic.grad_clip", "critic.optim.clip_grad"),
        ("actor_rollout_ref.actor.use_torch_compile", "fsdp_config.use_torch_compile"),
        ("actor_rollout_ref.rollout.val_kwargs.do_sample", "temperature 0 is greedy"),
        ("actor_rollout_ref.ref.fsdp_config.param_offload", "host memory"),
        ("actor_rollout_ref.rollout.multi_turn.max_user_turns", "nothing in veRL's V1 trainer reads it"),
        ("trainer.balance_batch", "nothing in veRL's V1 trainer reads it"),
        ("no.such_key", "nothing in veRL's V1 trainer reads it"),
    ],
)
def test_a_key_that_does_nothing_is_told_with_what_to_set_instead(config, key, words):
    assert words in effectiveness.without_effect(config, [key])[key]


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("critic.ppo_infer_max_token_len_per_gpu", "trainer/ppo/v1/trainer_base.py"),
        ("critic.cliprange_value", "workers/utils/losses.py"),
        ("critic.fsdp.param_offload", "workers/engine/fsdp/transformer_impl.py"),
        ("critic.optim.lr", "workers/config/optimizer.py"),
        ("actor_rollout_ref.actor.clip_ratio_high", "trainer/ppo/core_algos.py"),
        ("actor_rollout_ref.actor.ppo_epochs", "trainer/ppo/v1/trainer_base.py"),
        ("actor_rollout_ref.actor.checkpoint.save_contents", "utils/checkpoint/checkpoint_manager.py"),
        ("actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", "workers/engine_workers.py"),
        ("actor_rollout_ref.model.lora_rank", "trainer/ppo/v1/trainer_base.py"),
        ("actor_rollout_ref.rollout.gpu_memory_utilization", "workers/rollout/vllm_rollout/vllm_async_server.py"),
        ("algorithm.filter_groups.enable", "trainer/ppo/v1/trainer_base.py"),
        ("algorithm.norm_adv_by_std_in_grpo", "trainer/ppo/v1/trainer_base.py"),
        ("data.val_max_samples", "trainer/ppo/v1/trainer_base.py"),
        ("trainer.max_actor_ckpt_to_keep", "trainer/ppo/v1/trainer_base.py"),
    ],
)
def test_where_a_key_is_read_is_found_in_verls_source(key, file):
    place, line = verl_reads.keys_read()[key].split(":")
    source = Path(verl_reads.verl_folder(), place).read_text().splitlines()

    assert place == file
    assert key.rpartition(".")[2] in "".join(source[int(line) - 1 : int(line) + 4])


def test_a_key_has_an_effect_through_one_that_is_made_of_it(config):
    """`data.max_response_length` is read by nobody, but makes `rollout.response_length`, which is."""
    assert "data.max_response_length" not in verl_reads.keys_read()
    assert effectiveness.without_effect(config, ["data.max_response_length", "algorithm.adv_estimator"]) == {}


def test_what_is_handed_on_whole_and_what_is_our_own_is_not_judged(config):
    keys = ["actor_rollout_ref.rollout.engine_kwargs.vllm.block_size", "router_r1.pool", "name", "seed"]
    assert effectiveness.without_effect(config, keys) == {}


def test_a_section_stands_for_the_keys_in_it(config):
    assert "critic.ppo_max_token_len_per_gpu" in effectiveness.without_effect(config, ["critic"])


def test_the_keys_that_overrides_set():
    overrides = ["a.b=1", "+c.d=x=y", "~e", "++f=2"]
    assert effectiveness.overridden(overrides) == ["a.b", "c.d", "f"]
