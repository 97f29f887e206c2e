"""Every recipe on every number of GPUs, with and without LoRA: sound for veRL too, or refused before a start.

Nothing runs on a GPU here: each is composed, checked, and made into the objects that veRL's workers get.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError
from router_r1.project_files import experiment_names
from router_r1.training import configuration as cfg
from router_r1.training import trainer

pytest.importorskip("verl")
# Importing veRL and composing its configuration take seconds each.
pytestmark = pytest.mark.slow

RECIPES = {
    "ppo": {"algorithm.adv_estimator": "gae"},
    "grpo": {"algorithm.adv_estimator": "grpo"},
    "rloo": {"algorithm.adv_estimator": "rloo"},
    "reinforce_plus_plus": {"algorithm.adv_estimator": "reinforce_plus_plus"},
    "dapo": {
        "algorithm.adv_estimator": "grpo",
        "algorithm.filter_groups.enable": True,
        "actor_rollout_ref.actor.clip_ratio_high": 0.28,
        "actor_rollout_ref.actor.use_kl_loss": False,
    },
}
LORA = {"router_r1.lora.rank": 32}
GPUS = {1: (1, 1), 2: (1, 2), 4: (1, 4), 6: (1, 6), 8: (1, 8), 16: (2, 8), 64: (8, 8)}
"""GPUs -> nodes and GPUs of each."""

REFUSED = {("ppo", 6), ("ppo", 64), ("reinforce_plus_plus", 6), ("reinforce_plus_plus", 64)} | {
    (recipe, 6) for recipe in ("grpo", "rloo", "dapo")
}
"""A mini-batch is 32 trajectories, or 256 where eight are compared."""

ESTIMATORS = ("gae", "grpo", "rloo", "opo", "reinforce_plus_plus")


@pytest.fixture(scope="module")
def default() -> DictConfig:
    """The default on GPUs, not resolved yet."""
    config = cfg.compose_config(["platform=gpu", "experiment=qwen2.5_3b", "trainer.n_gpus_per_node=8"])
    cfg.set_values(config, {"name": "x", "run_dir": "/x"})
    return config


def made(default: DictConfig, values: dict[str, object]) -> DictConfig:
    config = copy.deepcopy(default)
    cfg.set_values(config, values)
    return cfg.resolve(config)


@pytest.mark.parametrize("gpus", GPUS)
@pytest.mark.parametrize("lora", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_sound_or_refused_with_what_would_do(default, untrained_policy, recipe, lora, gpus):
    nodes, per_node = GPUS[gpus]
    where = {"trainer.nnodes": nodes, "trainer.n_gpus_per_node": per_node}
    model = {"actor_rollout_ref.model.path": str(untrained_policy)}
    config = made(default, RECIPES[recipe] | lora | where | model)

    if (recipe, gpus) in REFUSED:
        with pytest.raises(ConfigError, match=r"cannot be shared out evenly among \d+ GPUs; .* would do"):
            cfg.check_settings(config)
        return
    cfg.check_settings(config)
    assert trainer.check(config) == ""
    check_workers(config)


def documented_trainings(project_root: Path) -> list[list[str]]:
    """Overrides of every `bash train.sh` that stands on a line of its own in the pages on GPUs."""
    lines = "".join((project_root / "docs" / page).read_text() for page in ("gpu.md", "scaling.md")).splitlines()
    commands = [line.partition("#")[0].split() for line in lines if line.startswith("    ") and "bash train.sh" in line]
    return [[word for word in words[words.index("train.sh") + 1 :] if "=" in word] for words in commands]


def test_every_training_that_the_pages_on_gpus_tell_to_start_is_sound(project_root, untrained_policy):
    always = ["platform=gpu", "experiment=qwen2.5_3b", f"actor_rollout_ref.model.path={untrained_policy}"]
    trainings = documented_trainings(project_root)

    assert len(trainings) > 3
    for overrides in trainings:
        config = cfg.compose_config([*always, "trainer.n_gpus_per_node=8", *overrides])
        cfg.set_values(config, {"name": "x", "run_dir": "/x"})
        config = cfg.resolve(config)
        cfg.check_settings(config)
        assert trainer.check(config) == "", overrides


@pytest.fixture(scope="module")
def in_mode():
    """The default on GPUs in a mode, not resolved yet; in `separate`, eight train and eight write."""
    found = {}
    for mode in ("async", "separate"):
        found[mode] = cfg.compose_config(
            ["platform=gpu", "experiment=qwen2.5_3b", "trainer.n_gpus_per_node=8", f"mode={mode}"]
        )
        cfg.set_values(found[mode], {"name": "x", "run_dir": "/x"})
    return found


@pytest.mark.parametrize("mode", ["async", "separate"])
@pytest.mark.parametrize("lora", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_sound_for_verl_in_every_mode(in_mode, untrained_policy, recipe, lora, mode):
    model = {"actor_rollout_ref.model.path": str(untrained_policy)}
    config = made(in_mode[mode], RECIPES[recipe] | lora | model)

    cfg.check_settings(config)
    assert trainer.check(config) == ""
    check_workers(config)
    v1 = config.trainer.v1
    if mode == "separate":  # what its trainer asserts before it does anything (veRL 0.9.1, trainer_separate_async.py)
        mini = config.actor_rollout_ref.actor.ppo_mini_batch_size
        assert config.data.train_batch_size == v1.separate_async.parameter_sync_step * mini
        assert config.actor_rollout_ref.rollout.checkpoint_engine.backend != "naive"


def test_the_documents_have_the_same_table(project_root):
    lines = (project_root / "docs" / "gpu.md").read_text().splitlines()
    rows = {line.split("`")[1]: line.split(" | ")[1:] for line in lines if line.endswith((" yes |", " no |"))}

    assert {recipe: [cell.strip(" |") for cell in cells] for recipe, cells in rows.items()} == {
        recipe: ["no" if (recipe, gpus) in REFUSED else "yes" for gpus in GPUS] for recipe in RECIPES
    }


def check_workers(config: DictConfig) -> None:
    """What the workers get, made as `ActorRolloutRefWorker.init_model` and `PPOTrainer._setup` make it (veRL 0.9.1)."""
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import FSDPActorConfig, HFModelConfig, RolloutConfig

    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    assert isinstance(rollout, RolloutConfig)
    assert isinstance(actor, FSDPActorConfig)
    assert isinstance(model, HFModelConfig)
    longest = config.data.max_prompt_length + config.data.max_response_length
    assert rollout.prompt_length + rollout.response_length == rollout.max_model_len == longest
    assert actor.engine.strategy == "fsdp2"
    assert not actor.calculate_entropy
    assert min(actor.ppo_max_token_len_per_gpu, rollout.log_prob_max_token_len_per_gpu) >= longest
    assert config.actor_rollout_ref.actor.use_dynamic_bsz == rollout.log_prob_use_dynamic_bsz
    assert model.lora_rank == config.actor_rollout_ref.model.lora_rank
    if config.algorithm.adv_estimator == "gae":
        critic = omega_conf_to_dataclass(config.critic)
        assert critic.engine.strategy == "fsdp2"
        assert critic.ppo_infer_max_token_len_per_gpu == 49152, "what both passes of the critic are cut to"


@pytest.mark.parametrize("experiment", experiment_names())
def test_every_estimator_composes_on_every_experiment(experiment, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("RECORDED_ROOT", str(tmp_path))
    config = cfg.compose_config([f"experiment={experiment}", "platform=cpu"])
    cfg.set_values(config, {"name": "x", "run_dir": "/x"})
    if OmegaConf.is_missing(config.router_r1, "template"):
        cfg.set_values(config, {"router_r1.template": "qwen", "actor_rollout_ref.model.path": "some/model"})

    for estimator in ESTIMATORS:
        resolved = made(config, {"algorithm.adv_estimator": estimator})
        pool = Path(resolved.router_r1.pool)
        if pool.name == "recorded_gsm8k.yaml":  # what was said there is not part of the project
            resolved.router_r1.pool = str(pool.with_name("sim.yaml"))
        cfg.check_settings(resolved)
        assert resolved.actor_rollout_ref.rollout.n >= (1 if estimator in ("gae", "reinforce_plus_plus") else 2)


def test_an_estimator_without_a_line_is_refused_with_the_line_that_it_lacks(default):
    with pytest.raises(ConfigError, match=r"adv_estimator = 'remax': has no line .*\+router_r1\.estimators\.remax="):
        made(default, {"algorithm.adv_estimator": "remax"})
