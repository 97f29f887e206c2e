"""Training on GPUs where flash-attn is not installed: torch's attention, or one line that says what to do."""

from __future__ import annotations

import importlib.util

import pytest

from router_r1.training import attention
from router_r1.training import configuration as cfg

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("verl") is None or importlib.util.find_spec("flash_attn") is not None,
    reason="needs veRL's own configuration, and no flash-attn",
)
MODEL = "actor_rollout_ref.model"


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")


def composed(*overrides: str):
    return cfg.resolve(cfg.compose_config(["platform=gpu", "experiment=gpu_smoke", "run_dir=/r", *overrides]))


def test_a_training_on_gpus_takes_torchs_attention_without_packing(one_gpu):
    model = composed("algorithm.adv_estimator=grpo").actor_rollout_ref.model
    assert model.override_config.attn_implementation == "sdpa"
    assert model.use_remove_padding is False
    assert attention.missing(composed("algorithm.adv_estimator=grpo")) == []


def test_what_the_user_chose_stays_and_is_refused_if_it_cannot_work(one_gpu):
    key = f"{MODEL}.override_config.attn_implementation"
    config = composed("algorithm.adv_estimator=grpo", f"+{key}=flash_attention_2")
    assert config.actor_rollout_ref.model.use_remove_padding is True
    (fault,) = attention.missing(config)
    assert fault.key == key


def test_a_critic_is_refused_with_an_estimator_that_has_none(one_gpu):
    (fault,) = attention.missing(composed())
    assert (fault.key, fault.value) == ("algorithm.adv_estimator", "gae")
    assert "algorithm.adv_estimator=grpo" in fault.remedy


def test_where_no_gpu_is_seen_nothing_is_changed(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = composed()
    assert config.actor_rollout_ref.model.use_remove_padding is True
    assert attention.missing(config) == []
