"""What is planned of a composed configuration: counts by hand, GPUs that are seen, and the peak that was measured."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

pytest.importorskip("torch")
pytest.importorskip("transformers")

from router_r1.datasets import Question, question_row, write_parquet
from router_r1.errors import ConfigError
from router_r1.pool import load_pool
from router_r1.training import configuration as cfg
from router_r1.training.sizing import estimate as sizing
from router_r1.training.sizing.amounts import amounts_of, measured_like
from router_r1.training.sizing.gpus import gpus_here, parse_gpus
from router_r1.training.sizing.job import job_of
from router_r1.training.sizing.telling import lines

POOL = {
    "name": "two",
    "defaults": {"base_url": "http://127.0.0.1:9/v1", "max_tokens": 512},
    "candidates": [
        {"name": "Cheap", "model": "a", "price": {"input": 0.1, "output": 0.2}, "descriptor": "cheap"},
        {"name": "Dear", "model": "b", "price": {"input": 1.0, "output": 2.0}, "descriptor": "dear"},
    ],
}


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    config = cfg.compose_config(["platform=gpu", "experiment=qwen2.5_3b", "trainer.n_gpus_per_node=4"])
    cfg.set_values(config, {"name": "x", "run_dir": "/x"})
    return config


@pytest.fixture
def changed(composed, tmp_path):
    """The paper's training on four GPUs, with some values changed and ten validation questions of its own."""
    rows = [
        question_row(Question(str(n), "Who?", ("Me",)), data_source="nq", split="val", index=n, messages=[])
        for n in range(10)
    ]
    write_parquet(rows, tmp_path / "val.parquet")
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(POOL))

    def change(**values: object) -> DictConfig:
        config = copy.deepcopy(composed)
        own = {
            "runs_dir": str(tmp_path / "runs"),
            "data.val_files": str(tmp_path / "val.parquet"),
            "data.val_max_samples": -1,
            "trainer.val_before_train": True,
            "router_r1.pool": str(tmp_path / "pool.yaml"),
        }
        cfg.set_values(config, own | {key.replace("__", "."): value for key, value in values.items()})
        return cfg.resolve(config)

    return change


@pytest.fixture
def a_gpu_of(tmp_path, monkeypatch):
    """A machine whose nvidia-smi tells of GPUs."""

    def tell(*rows: str, gpus: int = 4, fails: bool = False) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir()
        body = "exit 9" if fails else "\n".join(f"echo '{row}'" for row in rows)
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))

    return tell


def planned(config: DictConfig, overrides: tuple[str, ...] = (), gpus: str | None = None) -> sizing.Estimate:
    return sizing.estimate(config, cfg.pool_of(config), overrides, parse_gpus(gpus) if gpus else None)


# ---------------------------------------------------------------- the configuration, read


def test_the_papers_training_as_its_memory_sees_it(changed):
    job = job_of(changed())

    assert (job.gpus, job.shards, job.engines, job.trajectories_per_engine) == (4, 4, 4, 16)
    assert (job.has_critic, job.has_reference, job.lora_rank, job.parameter_bytes) == (True, True, 0, 4)
    assert job.max_length == 4096 + 5 * 1024 + 4 * 600


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"algorithm__adv_estimator": "grpo"}, "has_critic", False),
        ({"algorithm__adv_estimator": "grpo"}, "trajectories", 512),
        ({"critic__enable": False}, "has_critic", False),
        ({"actor_rollout_ref__model__lora_rank": 32}, "lora_rank", 32),
        ({"actor_rollout_ref__model__lora_rank": 32}, "has_reference", False),
        ({"actor_rollout_ref__model__lora": {"rank": 8, "merge": True}}, "merges_lora", True),
        ({"actor_rollout_ref__actor__fsdp_config__model_dtype": "bf16"}, "parameter_bytes", 2),
        ({"actor_rollout_ref__actor__fsdp_config__fsdp_size": 2}, "shards", 2),
        ({"actor_rollout_ref__actor__entropy_coeff": 0.01}, "has_entropy_in_update", True),
        ({"trainer__nnodes": 3}, "gpus", 12),
        ({"critic__ppo_infer_max_token_len_per_gpu": 777}, "critic_token_budget", 777),
    ],
)
def test_a_key_is_read_where_verl_reads_it(changed, changes, field, value):
    assert getattr(job_of(changed(**changes)), field) == value


def test_an_engine_that_does_not_divide_the_gpus_is_refused(changed):
    with pytest.raises(ConfigError, match="tensor_model_parallel_size = 3: must divide the 4 GPUs"):
        job_of(changed(actor_rollout_ref__rollout__tensor_model_parallel_size=3))


# ---------------------------------------------------------------- what is asked


def test_trajectories_routes_and_spend_by_hand(changed):
    """225 steps x 64, and 10 questions before the first step and every 15 steps: 15 times, the last step among them."""
    found = amounts_of(changed(), load_pool(changed().router_r1.pool))

    assert (found.training, found.validations, found.validation) == (14_400, 16, 160)
    assert found.routes == (14_560, 14_560 * 4)
    low, high = found.spend_usd
    assert low == pytest.approx(14_560 * (60 * 0.1 + 150 * 0.2) / 1e6)
    assert high == pytest.approx(4 * 14_560 * ((60 + 1024) * 1.0 + 512 * 2.0) / 1e6)


@pytest.mark.parametrize(
    ("changes", "validations", "validation"),
    [
        ({"trainer__val_before_train": False}, 15, 150),
        ({"trainer__test_freq": 100}, 4, 40),  # before, at 100, at 200, and after the last step
        ({"trainer__test_freq": -1, "trainer__val_before_train": False}, 0, 0),
        ({"data__val_max_samples": 3}, 16, 48),
        ({"actor_rollout_ref__rollout__val_kwargs__n": 2}, 16, 320),
        ({"data__val_files": "/nowhere/val.parquet"}, 16, None),
    ],
)
def test_validations_are_counted_as_verl_does_them(changed, changes, validations, validation):
    found = amounts_of(changed(**changes), load_pool(changed().router_r1.pool))

    assert (found.validations, found.validation) == (validations, validation)


def test_asking_every_candidate_first_is_counted(changed):
    found = amounts_of(changed(router_r1__constants__enabled=True), load_pool(changed().router_r1.pool))

    assert found.constants == 10 * 2
    assert found.routes[0] == 14_560 + 20


def test_groups_that_are_filtered_out_ask_more_than_can_be_told_beforehand(changed, tmp_path):
    filtered = changed(
        algorithm__adv_estimator="grpo",
        actor_rollout_ref__rollout__n=8,
        algorithm__filter_groups__enable=True,
    )
    told = lines(planned(filtered, gpus="4xH100-80"), tmp_path)[0]

    assert "and those of groups that are filtered out" in told
    assert "USD, and more for groups that are filtered out" in told
    assert "filtered out" not in lines(planned(changed(), gpus="4xH100-80"), tmp_path)[0]


@pytest.mark.parametrize(("most", "kept"), [(None, 15), (2, 2), (40, 15)])
def test_checkpoints_are_counted_as_they_are_kept(changed, most, kept):
    changes = {"trainer__max_actor_ckpt_to_keep": most}

    assert amounts_of(changed(**changes), load_pool(changed().router_r1.pool)).kept == kept


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    "other",
    [
        {"data": {"train_batch_size": 32}},
        {"actor_rollout_ref": {"model": {"lora_rank": 8}}},
        {"algorithm": {"filter_groups": {"enable": True}}},
        {"distillation": {"enabled": True}},
        {"trainer": {"v1": {"trainer_mode": "colocate_async"}}},
    ],
)
def test_time_is_told_only_if_a_run_like_it_was_measured(changed, tmp_path, other):
    config = changed()
    assert measured_like(config) is None

    for name, changes in (("like", {}), ("unlike", other)):
        folder = tmp_path / "runs" / name
        (folder / "metrics").mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        cfg.dump(OmegaConf.merge(config, changes), folder / "config.yaml")
        steps = [{"timing_s/step": 40.0, "timing_s/testing": 90.0}, {"timing_s/step": 50.0}]
        rows = [json.dumps({"step": step, "data": data}) for step, data in enumerate(steps)]
        (folder / "metrics" / "0.jsonl").write_text("\n".join(rows))

    found = planned(config, gpus="4xH100-80")

    assert found.measured.run == "like"
    assert found.measured.hours(found.amounts) == pytest.approx((225 * 45 + 16 * 90) / 3600)
    assert "time 3.2 h (as measured in like)" in lines(found, tmp_path)[0]


# ---------------------------------------------------------------- GPUs that are seen, and those that are not


def test_the_memory_of_this_machines_gpus_is_asked_of_nvidia_smi(a_gpu_of):
    a_gpu_of("NVIDIA H100 80GB HBM3, 81559", "NVIDIA A100-SXM4-40GB, 40960")

    assert (gpus_here().name, gpus_here().usable_gib) == ("A100-SXM4-40GB", 39.4)


def test_without_gpus_or_an_answer_none_is_seen(a_gpu_of, monkeypatch):
    a_gpu_of(fails=True)
    assert gpus_here() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_here() is None


def test_a_training_that_cannot_fit_is_refused_with_the_overrides_that_make_it_fit(changed, a_gpu_of):
    a_gpu_of("NVIDIA H100 80GB HBM3, 81559")
    found = planned(changed(trainer__n_gpus_per_node=1))

    with pytest.raises(ConfigError) as refused:
        sizing.refuse_what_cannot_fit(found)

    told = str(refused.value)
    assert "\n" not in told
    assert "Qwen/Qwen2.5-3B-Instruct does not fit: its " in told
    assert "it does with: " in told
    assert "critic.fsdp.optimizer_offload=true" in told

    said = dict(words.lstrip("+").split("=", 1) for words in told.partition("it does with: ")[2].split())
    values = {key.replace(".", "__"): yaml.safe_load(value) for key, value in said.items()}
    sizing.refuse_what_cannot_fit(planned(changed(trainer__n_gpus_per_node=1, **values)))


def test_one_that_no_setting_makes_fit_is_refused_with_what_would(changed, a_gpu_of):
    a_gpu_of("NVIDIA GeForce RTX 4090, 24564")

    with pytest.raises(ConfigError, match=r"does not fit: .*; the nearest that fits: "):
        sizing.refuse_what_cannot_fit(planned(changed(trainer__n_gpus_per_node=1)))


def test_gpus_that_are_only_assumed_refuse_nothing(changed, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = planned(changed(trainer__n_gpus_per_node=1))

    sizing.refuse_what_cannot_fit(found)

    told = lines(found, tmp_path)[1]
    assert "assumed: no GPU is seen here" in told
    assert "does not fit" in told


def test_a_model_of_unknown_size_leaves_the_rest_of_the_plan(changed, tmp_path):
    found = planned(changed(actor_rollout_ref__model__path="nobody/no-such-model"))

    sizing.refuse_what_cannot_fit(found)

    asked, memory = lines(found, tmp_path)
    assert asked.startswith("plan: trajectories 14,400 in training, 160 in validation")
    assert "hf download nobody/no-such-model config.json" in memory


@pytest.mark.parametrize("warm_start", ["null", "build"])
def test_the_embedded_world_plans_for_the_policy_that_it_starts_from(tmp_path, warm_start):
    said = ["platform=gpu", "experiment=world_cpu", "trainer.n_gpus_per_node=1"]
    config = cfg.compose_config([*said, f"router_r1.sim.warm_start={warm_start}"])
    cfg.set_values(config, {"name": "x", "run_dir": str(tmp_path), "runs_dir": str(tmp_path)})

    found = planned(cfg.resolve(config), gpus="1xH100-80")

    assert found.memory is not None, found.why_no_memory
    assert found.memory.model.parameters < 2e6


def test_a_warm_start_that_goes_on_from_another_model_is_planned_for_by_that_one(tmp_path):
    said = ["platform=gpu", "experiment=world_cpu", "trainer.n_gpus_per_node=1", "router_r1.sim.warm_start=build"]
    config = cfg.compose_config([*said, f"router_r1.sim.build_on={tmp_path}"])
    cfg.set_values(config, {"name": "x", "run_dir": str(tmp_path), "runs_dir": str(tmp_path)})

    assert str(tmp_path) in planned(cfg.resolve(config), gpus="1xH100-80").why_no_memory


def test_without_a_gpu_nothing_is_said_of_memory(tmp_path):
    config = cfg.compose_config(["platform=cpu", "experiment=world_cpu"])
    cfg.set_values(config, {"name": "x", "run_dir": str(tmp_path), "runs_dir": str(tmp_path)})
    found = planned(cfg.resolve(config))

    sizing.refuse_what_cannot_fit(found)

    (told,) = lines(found, tmp_path)
    assert "6,144 in training" in told
    assert "no money: its candidates are served here" in told


# ---------------------------------------------------------------- the measured peak


@pytest.mark.parametrize(
    ("peaks", "told"),
    [
        ([30.0, 61.25, 40.0], "GPU memory: the trainer allocated 61.2 GiB at most, planned were "),
        ([0.0], ""),  # a machine that does not measure
        ([], ""),
    ],
)
def test_what_was_measured_is_told_beside_what_was_planned(changed, tmp_path, peaks, told):
    sizing.write(planned(changed(), gpus="4xH100-80"), tmp_path)
    (tmp_path / "metrics").mkdir()
    rows = [{"step": n, "data": {"actor/perf/max_memory_allocated_gb": peak}} for n, peak in enumerate(peaks)]
    (tmp_path / "metrics" / "0.jsonl").write_text("\n".join(map(json.dumps, rows)))

    line = sizing.measured_beside_planned(tmp_path)

    assert line.startswith(told)
    assert bool(line) == bool(told)
    assert not line or "(critic update)" in line


def test_a_run_without_a_plan_of_memory_tells_nothing(tmp_path):
    assert sizing.measured_beside_planned(tmp_path) == ""
