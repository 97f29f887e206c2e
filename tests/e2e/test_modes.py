"""Trainings in which questions are asked while others are trained on, of an adapter, and under a teacher."""

from __future__ import annotations

import math
import signal
import sys

import pytest
from safetensors.torch import load_file

from router_r1 import runs
from router_r1.benchmark.records import read_records
from router_r1.exit_codes import ExitCode
from router_r1.sim.tiny_policy import SHIPPED_POLICY
from tests.e2e import runner

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

QUESTIONS, SAMPLES = 8, 4
TINY = (
    f"data.train_batch_size={QUESTIONS}",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    f"actor_rollout_ref.rollout.n={SAMPLES}",
    "router_r1.constants.enabled=false",
    "router_r1.sim.train_size=128",
    "router_r1.sim.val_size=16",
    "trainer.test_freq=-1",
    "trainer.val_before_train=false",
)
BEHIND = "training/off_policy/trajectory_staleness_worst"


def check_steps(run_dir, steps: int, *, behind: int) -> None:
    """That many steps, each on as many trajectories as it should be, on finite numbers, within the bound."""
    rows = runner.steps_of(run_dir)
    assert sorted(rows) == list(range(1, steps + 1))
    for step, row in rows.items():
        assert all(math.isfinite(value) for value in row.values())
        assert row["actor/grad_norm"] > 0
        assert row[f"{BEHIND}/max"] <= behind
        assert 0 < row["rollout_corr/rollout_is_max"] <= 2, "a token counts twofold at most"
        assert len(runner.rollout_questions(run_dir, step)) == QUESTIONS * SAMPLES


def test_an_asynchronous_run_stops_when_its_budget_is_spent_and_goes_on_with_what_was_under_way(runs_dir):
    """The steps after the stop train on the questions that were asked before it; none is drawn twice, or lost."""
    folder, slow = runs_dir / "async", "router_r1.sim.latency={median_ms: 500, sigma: 0.8}"
    started = [*TINY, slow, "mode=async", "trainer.save_freq=1", "trainer.total_training_steps=40"]
    # The router asks for a fifth of a thousandth of a dollar a step.
    stopped = runner.train(runs_dir, "async", *started, "router_r1.routing.budget_usd=0.004")
    assert stopped.code == ExitCode.BUDGET_SPENT, stopped.out + stopped.err
    assert "async (trajectories up to 2 versions behind)" in stopped.out
    checkpoint = runs.latest_checkpoint(folder)
    assert checkpoint is not None
    assert (checkpoint / "transfer_queue").is_dir(), "where the questions that are under way are kept"
    step = runs.step_of(checkpoint)

    last = step + 3
    more = ["router_r1.routing.budget_usd=null", f"trainer.total_training_steps={last}"]
    resumed = runner.train(runs_dir, "async", "resume=auto", *more)
    assert resumed.code == ExitCode.DONE, resumed.out + resumed.err
    check_steps(folder, last, behind=2)
    log = (folder / "train.log").read_text(errors="replace")
    assert f"Restored {QUESTIONS} training prompt groups" in log
    asked = [question for n in range(1, last + 1) for question in set(runner.rollout_questions(folder, n))]
    assert len(set(asked)) == len(asked) == QUESTIONS * last
    assert max(row[f"{BEHIND}/max"] for row in runner.steps_of(folder).values()) >= 1, "nothing was asked ahead"
    assert "  behind " in stopped.out + resumed.out


def test_an_asynchronous_run_goes_on_after_kill_9_and_ends_in_good_order_when_nobody_replies(runs_dir):
    folder, slow = runs_dir / "killed", "router_r1.sim.latency={median_ms: 500, sigma: 0.8}"
    command = ["bash", "train.sh", f"runs_dir={runs_dir}", "name=killed"]
    process = runner.start(
        [*command, *TINY, slow, "mode=async", "trainer.save_freq=2", "trainer.total_training_steps=40"]
    )
    runner.wait_until(lambda: 3 in runner.steps_of(folder), process, timeout=900)
    for trainer in runner.descendants(process.pid, "router_r1.training.trainer"):
        trainer.send_signal(signal.SIGKILL)
    killed = runner.finish(process, timeout=120)
    assert killed.code not in (0, None)
    kept = runs.latest_checkpoint(folder)
    assert kept is not None, killed.err
    assert f"last whole checkpoint: {kept}" in killed.err

    process = runner.start([*command, "resume=auto"])
    try:
        runner.wait_until(lambda: runs.step_of(kept) + 3 in runner.steps_of(folder), process, timeout=900)
        runner.end_pool_server(folder, signal.SIGKILL, process)
        done = runner.finish(process, timeout=600)
    finally:
        runner.kill_tree(process.pid)
    assert done.code == ExitCode.POOL_UNREACHABLE, done.out + done.err
    last = runs.latest_checkpoint(folder)
    assert last is not None
    assert runs.step_of(last) > runs.step_of(kept)
    assert f"last whole checkpoint: {last}" in done.err
    steps = max(runner.steps_of(folder))
    check_steps(folder, steps, behind=2)
    asked = [question for n in range(1, steps + 1) for question in set(runner.rollout_questions(folder, n))]
    assert len(set(asked)) == len(asked) == QUESTIONS * steps, "a question was lost, or drawn twice"


def test_processes_of_their_own_write_and_get_the_weights_of_every_step(runs_dir):
    done = runner.train(
        runs_dir, "separate", *TINY, "mode=separate", "trainer.save_freq=-1", "trainer.total_training_steps=3"
    )

    assert done.code == ExitCode.DONE, done.out + done.err
    check_steps(runs_dir / "separate", 3, behind=2)
    for row in runner.steps_of(runs_dir / "separate").values():
        assert row["training/rollout_probs_diff_mean"] < 0.05, "the engine writes with other weights than were sent"


def test_an_adapter_is_trained_and_its_checkpoint_is_a_plain_model(runs_dir, tmp_path):
    folder = runs_dir / "lora"
    done = runner.train(
        runs_dir,
        "lora",
        *TINY,
        "router_r1.lora.rank=8",
        "actor_rollout_ref.actor.optim.lr=3e-3",
        "trainer.save_freq=2",
        "trainer.total_training_steps=2",
    )
    assert done.code == ExitCode.DONE, done.out + done.err
    check_steps(folder, 2, behind=0)
    for row in runner.steps_of(folder).values():
        # The engine gets weights in bfloat16.
        assert row["training/rollout_probs_diff_mean"] < 0.01

    before, after = (load_file(place / "model.safetensors") for place in (SHIPPED_POLICY, folder / "hf"))
    assert set(after) - {"lm_head.weight"} == set(before) - {"lm_head.weight"}
    moved = {name for name in before if not before[name].float().allclose(after[name].float(), atol=1e-6)}
    assert moved
    assert all("_proj" in name for name in moved), "an adapter leaves embeddings and norms alone"
    command = [sys.executable, "-m", "router_r1", "bench", "--run", folder, "--out", tmp_path / "bench", "--limit", "4"]
    benched = runner.run(command, timeout=900)
    assert benched.code == 0, benched.err[-3000:]
    records = read_records(tmp_path / "bench" / "trajectories.jsonl")
    assert sum(record["format_error"] == "" for record in records) > len(records) / 2


def test_a_teacher_in_an_engine_of_its_own_holds_the_policy_to_its_start(runs_dir):
    done = runner.train(
        runs_dir, "taught", *TINY, "anchor=teacher", "trainer.save_freq=-1", "trainer.total_training_steps=2"
    )

    assert done.code == ExitCode.DONE, done.out + done.err
    check_steps(runs_dir / "taught", 2, behind=0)
    for row in runner.steps_of(runs_dir / "taught").values():
        assert "actor/kl_loss" not in row
        # Of the teacher's four likeliest tokens nearly all are the policy's as well, unless they are of another place.
        assert row["actor/distillation/overlap_ratio"] > 0.8
        assert 0 < row["actor/distillation/loss"] < 0.1
