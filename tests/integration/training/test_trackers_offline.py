"""Trackers fed as veRL feeds them, with a training's own configuration and environment, and read back from disk."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from router_r1 import runs
from router_r1.training import configuration as cfg
from router_r1.training.plan import make_plan, trainer_environment
from tests.conftest import PROJECT_ROOT
from tests.doubles.wandb_offline import read_offline

pytestmark = pytest.mark.slow  # imports veRL; W&B starts a process

SHARE = "train/candidate/Nova"
SAMPLE = ["Who directed Solaris?", "<search> Nova: who? </search>", 1.0]


@pytest.fixture
def track(tmp_path, monkeypatch):
    """Starts a run with these loggers, or goes on with it, and tells its trackers of steps; its folder."""
    if importlib.util.find_spec("verl") is None:
        pytest.skip("veRL is not installed")
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")

    def start(loggers: str, *steps: int, resumes: bool = False) -> Path:
        given = ["platform=cpu", f"trainer.logger=[{loggers}]", "trainer.log_val_generations=2"]
        plan = make_plan([f"runs_dir={tmp_path}", "name=mine", *(["resume=auto"] if resumes else given)])
        environment = trainer_environment(plan.config) | {"MY_CANDIDATES_API_KEY": "sk-made-up"}
        cfg.dump(plan.config, plan.run_dir / "config.yaml")
        facts = {"overrides": given, "wandb_run_id": environment.get("WANDB_RUN_ID")}
        runs.write_run_json(plan.run_dir, facts)
        command = [sys.executable, "-m", "tests.doubles.tracked_steps", plan.run_dir / "config.yaml", *map(str, steps)]
        python_path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | {"PYTHONPATH": python_path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return plan.run_dir

    return start


def test_wandb_gets_configuration_curves_shares_and_tables_and_goes_on_under_its_id(track):
    pytest.importorskip("wandb")
    folder = track("console,wandb", 1, 2)
    track("console,wandb", 3, resumes=True)

    began, resumed = read_offline(folder)
    assert began.run_id == resumed.run_id == runs.read_run_json(folder)["wandb_run_id"]
    assert began.config["algorithm"]["adv_estimator"] == "grpo"
    assert began.config["router_r1"]["pool"].endswith("dealt.yaml")
    assert [row["train/reward"] for row in began.history.values()] == [0.25, 0.5]
    assert [row["train/reward"] for row in resumed.history.values()] == [0.75]
    assert began.history[2][SHARE] == 0.75
    (table,) = folder.glob(f"**/{began.history[2]['val/generations']['path']}")
    assert json.loads(table.read_text())["data"][-1] == [2, *SAMPLE, *SAMPLE]
    written = [file for file in folder.rglob("*") if file.is_file()]
    assert not [file for file in written if b"sk-made-up" in file.read_bytes()], "keys are in the environment only"


def test_tensorboard_gets_curves_and_shares_and_goes_on_in_its_folder(track):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = track("tensorboard", 1, 2)
    track("tensorboard", 3, resumes=True)

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/reward")] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert events.Scalars(SHARE)[0].value == 0.75
    assert events.Tags()["tensors"], "the validation samples, as text"
