"""A scheduler wants its machines back in the middle of a training with filtered groups."""

from __future__ import annotations

import signal

import pytest

from router_r1 import runs
from router_r1.exit_codes import ExitCode
from tests.e2e import runner

pytestmark = pytest.mark.slow

QUESTIONS, SAMPLES = 4, 4
OVERRIDES = (
    f"data.train_batch_size={QUESTIONS}",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2",
    f"actor_rollout_ref.rollout.n={SAMPLES}",
    "algorithm.filter_groups.enable=true",
    "algorithm.filter_groups.metric=em",
    "router_r1.constants.enabled=false",
    "router_r1.sim.train_size=128",
    "router_r1.sim.val_size=32",
    "router_r1.sim.latency_scale=0",
    "trainer.total_training_steps=200",
    "trainer.save_freq=-1",
    "trainer.test_freq=-1",
    "trainer.val_before_train=false",
)


def has_replaced(steps) -> bool:
    """Whether a group was replaced in one of the steps; in which of the first ones is chance."""
    return any("training/filter_groups/evicted_samples" in row for row in steps.values())


def test_sigterm_ends_a_run_after_its_step_with_a_whole_checkpoint_and_a_code_of_its_own(runs_dir):
    """Groups in which all answers are right, or all wrong, are replaced: each step trains on as many as ever."""
    folder = runs_dir / "preempted"
    process = runner.start(["bash", "train.sh", f"runs_dir={runs_dir}", "name=preempted", *OVERRIDES])
    try:
        runner.wait_until(lambda: has_replaced(runner.steps_of(folder)), process, timeout=900)
        process.send_signal(signal.SIGTERM)
        done = runner.finish(process, timeout=300)
    finally:
        runner.kill_tree(process.pid)

    saved, steps = runs.latest_checkpoint(folder), runner.steps_of(folder)
    assert done.code == ExitCode.PREEMPTED, done.out + done.err
    assert f"saved: {saved}; go on with: bash train.sh resume=auto name=preempted" in done.out
    assert runs.step_of(saved) == max(steps) + 1, "the step under way was finished"
    assert runs.world_size(saved) == 1
    assert has_replaced(steps)
    for step in steps:
        assert len(runner.rollout_questions(folder, step)) == QUESTIONS * SAMPLES
