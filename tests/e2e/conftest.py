"""The run that most of these tests look at. Starting a trainer takes a minute or more, so they share one."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from router_r1 import runs
from tests.e2e import runner

STEPS, BATCH, VALIDATION_QUESTIONS = 4, 16, 50
KILLED_AFTER, SAVED_EVERY = 3, 2


@dataclass(frozen=True)
class PpoRun:
    """A PPO run whose trainer was killed (-9) after step 3, and which then went on from step 2 to its end."""

    folder: Path
    killed: runner.Finished
    checkpoint: Path  # the newest one at the kill
    window_then: list[float]  # its cost window
    asked_before: list[str]  # the questions of step 3, as the killed trainer drew them
    resumed: runner.Finished


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def ppo(runs_dir) -> PpoRun:
    folder = runs_dir / "ppo"
    command = ["bash", "train.sh", f"runs_dir={runs_dir}", "name=ppo"]
    process = runner.start(
        [
            *command,
            *runner.SMALL,
            *runner.PROBED,
            "algorithm.adv_estimator=gae",
            # Greedy, to be compared with greedy evaluations of the same policy.
            "actor_rollout_ref.rollout.val_kwargs.temperature=0",
            "actor_rollout_ref.rollout.val_kwargs.do_sample=false",
            f"router_r1.sim.val_size={VALIDATION_QUESTIONS}",
            f"trainer.total_training_steps={STEPS}",
            f"trainer.save_freq={SAVED_EVERY}",
            f"trainer.test_freq={STEPS}",
        ]
    )
    runner.wait_until(lambda: KILLED_AFTER in runner.steps_of(folder), process, timeout=900)
    for trainer in runner.descendants(process.pid, "router_r1.training.trainer"):
        trainer.send_signal(signal.SIGKILL)
    killed = runner.finish(process, timeout=120)
    checkpoint = runs.latest_checkpoint(folder)
    assert checkpoint is not None, killed.err
    window, asked = cost_window(checkpoint), runner.rollout_questions(folder, KILLED_AFTER)
    (folder / "rollouts" / f"{KILLED_AFTER}.jsonl").unlink()  # what stands there later, the resumed trainer drew
    resumed = runner.run([*command, "resume=auto"], timeout=900)
    return PpoRun(folder, killed, checkpoint, window, asked, resumed)


def cost_window(checkpoint: Path) -> list[float]:
    return json.loads((checkpoint / runs.COST_WINDOW_FILE).read_text())["roots"]
