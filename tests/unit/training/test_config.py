"""The configuration a run is composed of: one estimator switch, budgets that fit, GPU settings of the paper."""

from __future__ import annotations

import copy

import pytest
from omegaconf import DictConfig, OmegaConf

from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.project_files import pool_file
from router_r1.rollout.exploration import ExplorationConfig
from router_r1.rollout.tokens import CHAT_TEMPLATE_VALUES
from router_r1.training import configuration as cfg

RUN = {"name": "x", "run_dir": "/x"}


def composed(*overrides: str):
    config = cfg.compose_config(overrides)
    cfg.set_values(config, RUN)
    return cfg.resolve(config)


@pytest.fixture(autouse=True)
def _a_machine_without_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="module")
def default() -> DictConfig:
    """The default configuration of a machine without a GPU, not resolved yet. Composing one takes a second."""
    config = cfg.compose_config(["platform=cpu", "experiment=world_cpu"])
    cfg.set_values(config, RUN)
    return config


@pytest.fixture
def changed(default):
    """The default with some values changed before it is resolved."""

    def change(**values: object) -> DictConfig:
        config = copy.deepcopy(default)
        cfg.set_values(config, {key.replace("__", "."): value for key, value in values.items()})
        return cfg.resolve(config)

    return change


def test_without_a_gpu_the_default_is_the_world_of_dealt_pools_on_the_cpu_with_grpo():
    c = composed()

    assert (c.trainer.device, c.algorithm.adv_estimator, c.router_r1.sim.enabled) == ("cpu", "grpo", True)
    assert c.router_r1.pool == str(pool_file("dealt"))
    assert c.router_r1.reward.cost_coe == "sampled"
    assert c.actor_rollout_ref.rollout.n >= 2
    assert not c.algorithm.norm_adv_by_std_in_grpo
    assert not c.algorithm.use_kl_in_reward
    actor = c.actor_rollout_ref.actor
    assert (actor.use_kl_loss, actor.kl_loss_coef) == (True, 0.03), "what holds the thoughts"
    cfg.check_settings(c)


def test_the_estimator_alone_makes_a_sound_ppo_configuration_of_as_many_trajectories(changed):
    ppo, grpo = composed("algorithm.adv_estimator=gae"), changed()

    assert ppo.actor_rollout_ref.rollout.n == 1
    assert ppo.algorithm.use_kl_in_reward
    assert not ppo.actor_rollout_ref.actor.use_kl_loss
    assert ppo.algorithm.kl_ctrl.kl_coef == 0.01
    assert ppo.data.train_batch_size == grpo.data.train_batch_size * grpo.actor_rollout_ref.rollout.n
    cfg.check_settings(ppo)


def test_the_estimator_alone_makes_a_grpo_configuration_of_the_papers():
    c = composed("platform=gpu", "algorithm.adv_estimator=grpo")

    assert c.actor_rollout_ref.rollout.n >= 2
    assert c.actor_rollout_ref.actor.use_kl_loss
    assert not c.algorithm.use_kl_in_reward


@pytest.mark.parametrize("estimator", ["grpo", "gae"])
def test_a_teacher_takes_the_place_of_the_kl_divergence_with_one_word(estimator):
    c = composed("anchor=teacher", f"algorithm.adv_estimator={estimator}", "actor_rollout_ref.model.path=/start")

    assert not c.actor_rollout_ref.actor.use_kl_loss
    assert not c.algorithm.use_kl_in_reward
    loss, teacher = c.distillation.distillation_loss, c.distillation.teacher_models.teacher_model
    assert c.distillation.enabled
    assert (loss.loss_mode, loss.use_task_rewards, loss.use_policy_gradient) == ("forward_kl_topk", True, False)
    assert teacher.model_path == "/start"
    assert teacher.inference.engine_kwargs == c.actor_rollout_ref.rollout.engine_kwargs
    assert c.ray_kwargs.ray_init.num_gpus == 2, "one for the policy, one for the teacher"
    cfg.check_settings(c)


def test_without_a_teacher_nothing_is_distilled(changed):
    c = changed()

    assert not c.distillation.enabled
    assert c.ray_kwargs.ray_init.num_gpus == 1


@pytest.mark.parametrize(("mode", "trains"), [("sync", 7), ("separate", 3)])
def test_a_teacher_has_a_gpu_of_its_own(monkeypatch, mode, trains):
    monkeypatch.setattr(cfg, "accelerators", lambda: 8)

    assert composed("anchor=teacher", f"mode={mode}").trainer.n_gpus_per_node == trains


@pytest.mark.parametrize(
    ("gpus", "overrides", "words"),
    [
        (1, ["anchor=teacher"], "anchor = 'teacher': needs 2 GPUs at least, one for the teacher, and there is 1"),
        (2, ["anchor=teacher", "mode=separate"], "there are 2, one of them for the teacher; mode=async shares it"),
        (0, ["anchor=chain"], "anchor = 'chain': is no anchor; there are reference, teacher"),
    ],
)
def test_an_anchor_that_cannot_hold_is_refused(monkeypatch, gpus, overrides, words):
    monkeypatch.setattr(cfg, "accelerators", lambda: gpus)
    with pytest.raises(ConfigError, match=words):
        cfg.compose_config(overrides)


def test_real_questions_without_a_gpu_are_asked_of_the_pool_whose_candidates_keep_their_names(monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "/data")
    c = composed("experiment=nq_hotpotqa_cpu")

    assert load_pool(c.router_r1.pool, base_url="http://127.0.0.1:1/v1").deals is None
    assert (c.router_r1.sim.qa_root, c.router_r1.sim.warm_start) == ("/data", "build")
    actor = c.actor_rollout_ref.actor
    assert (actor.use_kl_loss, actor.kl_loss_coef) == (True, 0.05), "what holds the thought before a dealt choice"
    cfg.check_settings(c)


def test_every_turn_and_observation_fits_the_response_and_the_engine(changed):
    c = changed(router_r1__rollout__max_turns=3)
    limits = c.router_r1.rollout

    assert c.data.max_response_length == 4 * limits.max_turn_tokens + 3 * limits.max_obs_length
    assert c.actor_rollout_ref.rollout.max_model_len == c.data.max_prompt_length + c.data.max_response_length


@pytest.mark.parametrize("experiment", ["qwen2.5_3b", "llama3.2_3b"])
def test_gpu_experiments_carry_the_settings_of_the_paper(experiment):
    c = composed("platform=gpu", f"experiment={experiment}")

    assert "3B-Instruct" in c.actor_rollout_ref.model.path
    assert (c.data.train_batch_size, c.actor_rollout_ref.actor.ppo_mini_batch_size) == (64, 32)
    assert (c.actor_rollout_ref.actor.optim.lr, c.critic.optim.lr) == (1e-6, 1e-5)
    assert c.algorithm.kl_ctrl.kl_coef == 0.001
    assert c.data.max_prompt_length == 4096
    assert dict(c.router_r1.rollout) == {"max_turns": 4, "max_turn_tokens": 1024, "max_obs_length": 600}
    assert c.actor_rollout_ref.rollout.temperature == 1.0
    assert (c.trainer.total_training_steps, c.trainer.save_freq, c.trainer.test_freq) == (225, 15, 15)
    assert c.algorithm.adv_estimator == "gae"
    assert not c.router_r1.sim.enabled


def test_on_gpus_validation_is_greedy_of_a_part_of_the_questions_and_not_before_training():
    c = composed("platform=gpu")

    assert c.actor_rollout_ref.rollout.val_kwargs.temperature == 0
    assert not c.trainer.val_before_train
    validations = c.trainer.total_training_steps // c.trainer.test_freq
    assert validations * c.data.val_max_samples < c.trainer.total_training_steps * c.data.train_batch_size / 4


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_two_checkpoints_are_kept_and_no_entropy_is_computed_in_the_update(platform):
    c = composed(f"platform={platform}")

    assert (c.trainer.max_actor_ckpt_to_keep, c.trainer.max_critic_ckpt_to_keep) == (2, 2)
    assert not c.actor_rollout_ref.actor.calculate_entropy
    assert c.actor_rollout_ref.actor.entropy_coeff == 0


def test_the_critics_budget_of_tokens_is_in_the_key_that_is_read():
    assert composed("platform=gpu").critic.ppo_infer_max_token_len_per_gpu == 49152


def test_the_sampler_is_told_what_verl_tells_its_own_samplers_only():
    c = composed("algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=em")
    told = c.trainer.v1.sampler.sampler_kwargs

    assert (told.filter_groups.enable, told.filter_groups.metric) == (True, "em")
    assert told.train_batch_size == c.data.train_batch_size
    assert told.sync_refill_failed_groups is False


def test_training_tells_chat_templates_what_evaluation_tells_them():
    assert dict(composed("platform=gpu").data.apply_chat_template_kwargs) == CHAT_TEMPLATE_VALUES


def test_with_gpus_the_gpu_experiment_is_chosen_with_as_many_processes(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")

    c = composed()

    assert (c.trainer.device, c.trainer.n_gpus_per_node) == ("cuda", 4)
    assert c.actor_rollout_ref.model.path == "Qwen/Qwen2.5-3B-Instruct"


def test_two_processes_on_the_cpu_are_declared_to_ray_as_two_slots(changed):
    assert changed(trainer__n_gpus_per_node=2).ray_kwargs.ray_init.num_gpus == 2


def test_the_written_configuration_names_keys_and_never_holds_one(default, tmp_path, monkeypatch):
    monkeypatch.setenv("NVIDIA_API_KEY", "nv-secret")
    config = copy.deepcopy(default)
    cfg.set_values(config, {"router_r1.sim.enabled": False, "router_r1.pool": str(pool_file("paper"))})

    cfg.dump(config, tmp_path / "config.yaml")

    assert "nv-secret" not in (tmp_path / "config.yaml").read_text()


# ---------------------------------------------------------------- the reward's terms


@pytest.fixture
def rewards_file(tmp_path, monkeypatch):
    """A user's file in the folder that the command is started in."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_rewards.py"
    file.write_text("def brevity(trajectory): return -1.0\ndef wrong(tokens): return 0.0\n")
    return file


def test_by_default_the_reward_is_the_papers_three_terms_and_in_the_world_money_keeps_its_worth(changed):
    papers = {"format": "format", "outcome": "outcome", "cost": "cost"}

    assert composed("platform=gpu").router_r1.reward.terms == papers
    assert changed().router_r1.reward.terms == papers | {"cost": "linear_cost"}


def test_a_term_of_ones_own_is_one_override_and_its_weight_another(rewards_file):
    c = composed(
        "+router_r1.reward.terms.brevity=own_rewards.py:brevity",
        "+router_r1.reward.weights.brevity=0.1",
        "~router_r1.reward.terms.cost",
        "router_r1.reward.terms.outcome=format",
    )
    reward = c.router_r1.reward

    assert list(reward.terms) == ["format", "outcome", "brevity"]
    assert (reward.terms.outcome, reward.weights.brevity) == ("format", 0.1)
    cfg.check_settings(c)


def test_the_written_configuration_names_a_users_file_by_its_absolute_path_as_workers_start_elsewhere(
    default, rewards_file, tmp_path
):
    config = copy.deepcopy(default)
    cfg.set_values(config, {"router_r1.reward.terms.brevity": "own_rewards.py:brevity"})
    cfg.dump(config, tmp_path / "config.yaml")

    written = OmegaConf.load(tmp_path / "config.yaml")
    assert written.router_r1.reward.terms.brevity == f"{rewards_file}:brevity"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("terms__own", "own_rewards.py:nothing", r"terms\.own = .*has no nothing; it has brevity, wrong"),
        ("terms__own", "own_rewards.py:wrong", r"terms\.own = 'wrong': asks for 'tokens'"),
        ("terms__own", "no_such.py:brevity", r"terms\.own = .*/no_such\.py:brevity': cannot be imported"),
        ("terms__cost", "costs", r"terms\.cost = 'costs': is none of format, outcome, cost"),
        ("weights__own", 0.1, r"weights\.own = 0\.1: weighs no term; there are format, outcome, cost"),
    ],
)
def test_a_term_that_cannot_be_had_ends_the_command_before_anything_starts(changed, rewards_file, key, value, words):
    with pytest.raises(ConfigError, match=f"^router_r1.reward: {words}"):
        cfg.check_settings(changed(**{f"router_r1__reward__{key}": value}))


@pytest.mark.parametrize("nats", [0.1, 1.0, 5.0, 15.0])
def test_what_has_moved_further_from_the_start_is_pulled_back_harder(default, nats):
    """In the world's experiment, veRL's gradient of a token's KL loss by its log-probability is the distance itself."""
    torch, core_algos = pytest.importorskip("torch"), pytest.importorskip("verl.trainer.ppo.core_algos")
    start = torch.tensor([-20.0], dtype=torch.float64)
    now = (start + nats).requires_grad_()
    loss = core_algos.kl_penalty(now, start, default.actor_rollout_ref.actor.kl_loss_type)
    loss.sum().backward()
    assert now.grad.item() == pytest.approx(nats)
    assert loss.item() >= 0


# ---------------------------------------------------------------- exploration


def exploration(config: DictConfig) -> ExplorationConfig:
    return ExplorationConfig(**OmegaConf.to_container(config.router_r1.exploration))


def test_by_default_nothing_is_explored():
    assert not exploration(composed("platform=gpu")).is_on


def test_in_the_world_unlikely_choices_are_rewarded_where_the_tiny_policy_writes_them_and_none_is_dealt(changed):
    settings = exploration(changed())

    assert settings.dealt_at(0.0) == 0.0
    assert settings.tau_at(0.0) > 0
    assert (settings.marker, settings.choice) == (" Ask", "{descriptor} {name}")


def test_exploration_can_be_left_out_and_a_choice_may_be_the_name_alone(changed):
    off = {"router_r1__exploration__dealt": 0.0, "router_r1__exploration__tau": 0.0}

    cfg.check_settings(changed(**off))
    cfg.check_settings(changed(router_r1__exploration__choice="{name}"))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"router_r1__exploration__dealt": 2.0}, "router_r1.exploration"),
        ({"router_r1__exploration__choice": "{descriptor}"}, r"router_r1.exploration: choice .*must hold \{name\}"),
        ({"router_r1__exploration__choice": "{model} {name}"}, r"unknown placeholder \{model\}"),
        ({"actor_rollout_ref__rollout__logprobs_mode": "processed_logprobs"}, "logprobs_mode"),
        ({"actor_rollout_ref__rollout__temperature": 0.7}, "logprobs_mode"),
        ({"trainer__total_training_steps": None}, "trainer.total_training_steps"),
    ],
)
def test_what_exploration_cannot_do_without_is_told_before_anything_starts(changed, changes, key):
    with pytest.raises(ConfigError, match=key):
        cfg.check_settings(changed(**{"router_r1__exploration__tau": 0.1, **changes}))
