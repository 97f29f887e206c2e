"""Trackers fed as veRL feeds them, with a training's own configuration and environment, and read back from disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from router_r1 import runs
from router_r1.training import configuration as cfg
from router_r1.training.plan import TrainingPlan, make_plan
from tests.doubles.wandb_offline import read_offline

pytestmark = pytest.mark.slow  # imports veRL; W&B starts a process

tracking = pytest.importorskip("verl.utils.tracking")

METRICS = {"train/reward": 0.25, "train/candidate/Nova": 0.75, "train/candidate/Vega": 0.25}
SAMPLE = ["Who directed Solaris?", "<search> Nova: who? </search>", 1.0]


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plans a run with these loggers, or goes on with it, and gives this process the workers' environment."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("A_CANDIDATES_API_KEY", "sk-made-up")

    def make(*loggers: str, resumes: bool = False) -> TrainingPlan:
        given = ["platform=cpu", f"trainer.logger=[{','.join(loggers)}]", "trainer.log_val_generations=2"]
        made = make_plan(
            ["resume=auto", "name=mine", f"runs_dir={tmp_path}"]
            if resumes
            else [*given, "name=mine", f"runs_dir={tmp_path}"]
        )
        made.run_dir.mkdir(exist_ok=True)
        workers = OmegaConf.to_container(cfg.resolve(made.config).ray_kwargs.ray_init.runtime_env.env_vars)
        for name, value in workers.items():
            if name.startswith(("WANDB_", "TENSORBOARD_")):
                monkeypatch.setenv(name, str(value))
        facts = {"overrides": given, "wandb_run_id": workers.get("WANDB_RUN_ID")}
        runs.write_run_json(made.run_dir, facts)
        return made

    return make


def log(plan: TrainingPlan, *steps: int) -> None:
    """As `PPOTrainer.fit` does (veRL 0.9.1): metrics of every step, and a table after each validation."""
    config = cfg.resolve(plan.config)
    names = {"project_name": config.trainer.project_name, "experiment_name": config.trainer.experiment_name}
    whole = OmegaConf.to_container(config, resolve=True)
    logger = tracking.Tracking(**names, default_backend=list(config.trainer.logger), config=whole)
    tables = tracking.ValidationGenerationsLogger(**names)
    for step in steps:
        tables.log(list(config.trainer.logger), [SAMPLE] * config.trainer.log_val_generations, step)
        logger.log(METRICS | {"train/reward": step / 4}, step)
    logger.finish()


def test_wandb_gets_configuration_curves_shares_and_tables_and_goes_on_under_its_id(plan, tmp_path):
    pytest.importorskip("wandb")
    first = plan("console", "wandb")
    log(first, 1, 2)
    log(plan("console", "wandb", resumes=True), 3)

    began, resumed = read_offline(first.run_dir)
    assert began.run_id == resumed.run_id == runs.read_run_json(first.run_dir)["wandb_run_id"]
    assert began.config["algorithm"]["adv_estimator"] == "grpo"
    assert began.config["router_r1"]["pool"].endswith("dealt.yaml")
    assert [row["train/reward"] for row in began.history.values()] == [0.25, 0.5]
    assert [row["train/reward"] for row in resumed.history.values()] == [0.75]
    assert began.history[2]["train/candidate/Nova"] == 0.75
    table = began.history[2]["val/generations"]
    (file,) = first.run_dir.glob(f"**/{table['path']}")
    assert json.loads(file.read_text())["data"][-1] == [2, *SAMPLE, *SAMPLE]


def test_wandb_is_told_no_key_of_the_environment(plan, tmp_path):
    pytest.importorskip("wandb")
    log(made := plan("wandb"), 1)

    written = [file for file in made.run_dir.rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in written)
    assert not [file for file in written if os.environ["A_CANDIDATES_API_KEY"].encode() in file.read_bytes()]


def test_tensorboard_gets_curves_shares_and_the_samples_and_goes_on_in_its_folder(plan, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = plan("tensorboard")
    log(first, 1, 2)
    log(plan("tensorboard", resumes=True), 3)

    events = EventAccumulator(str(first.run_dir / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/reward")] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert events.Scalars("train/candidate/Nova")[0].value == 0.75
    assert Path(first.run_dir, "tensorboard").is_dir()
