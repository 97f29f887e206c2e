"""The control of the test that engine and trainer agree. In a file of its own, so that it may run beside the others."""

from __future__ import annotations

import pytest

from tests.e2e import runner

pytestmark = pytest.mark.slow


def test_a_skipped_weight_sync_shows_in_the_difference_of_log_probabilities(runs_dir):
    """With an engine that takes the first weights only, the difference jumps."""
    overrides = [
        *runner.PROBED,
        "trainer.total_training_steps=2",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "trainer.val_before_train=false",
        "actor_rollout_ref.actor.optim.lr=3e-3",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls=tests.e2e.deaf_worker.DeafWorkerExtension",
    ]
    done = runner.train(runs_dir, "deaf", *runner.SMALL, *overrides)

    assert done.code == 0, done.out + done.err
    rows = runner.steps_of(runs_dir / "deaf")
    assert rows[1]["training/rollout_log_probs_diff_max"] < 1e-2
    assert rows[2]["training/rollout_log_probs_diff_max"] > 1e-2
