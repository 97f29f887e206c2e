"""Where a training's files are, told so that a process which starts in another folder finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError
from router_r1.training import configuration as cfg
from router_r1.training.paths import make_absolute


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def absolute(**values: object) -> DictConfig:
    config = OmegaConf.create({})
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    make_absolute(config)
    return config


def test_question_files_are_found_from_anywhere_whether_they_are_there_yet_or_not(folder):
    config = absolute(data__train_files="train.parquet", data__val_files=["a.parquet", "/b.parquet", "hdfs://c/d"])

    assert config.data.train_files == str(folder / "train.parquet")
    assert config.data.val_files == [str(folder / "a.parquet"), "/b.parquet", "hdfs://c/d"]


def test_a_model_or_template_is_a_path_where_one_is_there_and_else_a_name(folder):
    (folder / "my_model").mkdir()
    (folder / "mine.txt").touch()

    config = absolute(
        actor_rollout_ref__model__path="my_model",
        critic__model__path="Qwen/Qwen2.5-3B-Instruct",
        router_r1__template="mine.txt",
        router_r1__sim__warm_start="build",
    )

    assert config.actor_rollout_ref.model.path == str(folder / "my_model")
    assert config.critic.model.path == "Qwen/Qwen2.5-3B-Instruct"
    assert config.router_r1.template == str(folder / "mine.txt")
    assert config.router_r1.sim.warm_start == "build"


def test_traces_the_cache_and_a_term_of_the_reward_too(folder):
    config = absolute(
        router_r1__routing__trace_file="routes.jsonl",
        router_r1__routing__cache_file=None,
        router_r1__reward__terms={"own": "mine.py:own", "em": "outcome"},
    )

    assert config.router_r1.routing == {"trace_file": str(folder / "routes.jsonl"), "cache_file": None}
    assert config.router_r1.reward.terms == {"own": f"{folder / 'mine.py'}:own", "em": "outcome"}


@pytest.fixture
def without_gpus(monkeypatch, folder) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return monkeypatch


def test_a_machine_without_gpus_trains_on_its_cpu(without_gpus):
    cfg.check_platform([])
    without_gpus.setenv("RAY_ADDRESS", "local")
    cfg.check_platform([])


def test_one_that_belongs_to_a_cluster_must_say_on_what_to_train(without_gpus, folder):
    """The tiny policy on the head's CPU, while the cluster's GPUs wait, is what nobody wants."""
    without_gpus.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError, match=r"platform: is not given; .*platform=gpu trainer\.nnodes=N .*platform=cpu"):
        cfg.check_platform(["trainer.nnodes=2"])
    cfg.check_platform(["platform=gpu"])
    cfg.check_platform(["platform=cpu"])


def test_so_must_the_machine_on_which_ray_was_started(without_gpus, folder):
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")

    with pytest.raises(ConfigError, match="belongs to a Ray cluster"):
        cfg.check_platform([])
    without_gpus.delenv("RAY_TMPDIR")
    without_gpus.setenv("TMPDIR", str(folder))  # where Ray writes it down if nothing else is said
    with pytest.raises(ConfigError, match="belongs to a Ray cluster"):
        cfg.check_platform([])
    without_gpus.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    cfg.check_platform([])
