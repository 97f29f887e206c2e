"""`bash train.sh` as a user runs it, small: PPO, GRPO, two ranks, resume, outages, lost weight sync, real questions."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import pytest

from router_r1 import runs
from router_r1.training.report import validation_by_source
from tests.e2e import runner
from tests.e2e.runner import PROBED, SMALL, train

pytestmark = pytest.mark.slow

PPO_STEPS, BATCH = 3, 16


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ppo(runs_dir) -> Path:
    """The folder of a finished PPO run."""
    steps = [f"trainer.total_training_steps={PPO_STEPS}", "trainer.save_freq=2", f"trainer.test_freq={PPO_STEPS}"]
    done = train(runs_dir, "ppo", *SMALL, *PROBED, *steps)
    assert done.code == 0, done.out + done.err
    assert "validation before (step 0) and after (step 3)" in done.out
    return runs_dir / "ppo"


def steps_of(run_dir: Path) -> dict[int, dict[str, float]]:
    return {step: row for step, row in runs.read_metrics(run_dir).items() if "train/reward" in row}


def test_every_step_trains_on_finite_numbers(ppo):
    rows = steps_of(ppo)

    assert sorted(rows) == [1, 2, 3]
    for row in rows.values():
        assert all(math.isfinite(value) for value in row.values())
        assert row["actor/grad_norm"] > 0
        assert row["critic/vf_loss"] >= 0
        assert row["actor/entropy"] > 0
        assert "actor/reward_kl_penalty" in row


def test_engine_and_trainer_agree_on_the_log_probability_of_every_policy_token_after_every_sync(ppo):
    for row in steps_of(ppo).values():
        assert row["training/rollout_probs_diff_max"] < 1e-3
        assert row["training/rollout_log_probs_diff_max"] < 1e-2


def test_the_warm_started_policy_keeps_the_format_and_routes(ppo):
    first = steps_of(ppo)[1]

    assert first["train/format"] > -0.2
    assert first["train/routes"] > 0.8
    assert first["train/failed_routes"] == 0
    assert first["train/observation_tokens"] > 0


def test_metrics_come_per_data_source_and_candidate_shares_add_up(ppo):
    row = steps_of(ppo)[1]
    shares = [value for name, value in row.items() if name.startswith("train/candidate/")]

    assert len(shares) == 8
    assert sum(shares) == pytest.approx(1.0)
    assert {"train/world_1hop/em", "train/world_2hop/em"} <= set(row)


def test_validation_runs_before_and_after_and_reports_every_measure_by_hop_count(ppo):
    metrics = runs.read_metrics(ppo)

    for step in (0, PPO_STEPS):
        by_source = validation_by_source(metrics[step])
        assert set(by_source) == {"world_1hop", "world_2hop"}
        assert {"em", "f1", "format", "raw_cost", "spend_usd", "routes", "turns"} <= set(by_source["world_1hop"])
        assert len((ppo / "validation" / f"{step}.jsonl").read_text().splitlines()) == 32, "a question was dropped"


def test_the_cost_window_holds_the_training_trajectories_and_no_validation(ppo):
    assert len(cost_window(runs.latest_checkpoint(ppo))) == PPO_STEPS * BATCH


def test_the_run_folder_holds_what_is_needed_to_repeat_and_to_use_it(ppo):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    facts = runs.read_run_json(ppo)

    assert facts["seed"] == 0
    assert facts["packages"]["verl"] == "0.9.1"
    assert (ppo / "config.yaml").stat().st_size > 0
    assert (ppo / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (ppo.parent / "latest").resolve() == ppo
    assert AutoModelForCausalLM.from_pretrained(ppo / "hf").num_parameters() < 3_000_000
    assert len(AutoTokenizer.from_pretrained(ppo / "hf")) > 256


def test_training_moved_the_policy(ppo):
    from transformers import AutoModelForCausalLM

    start = AutoModelForCausalLM.from_pretrained(runs.read_run_json(ppo)["model_path"]).state_dict()
    after = AutoModelForCausalLM.from_pretrained(ppo / "hf").state_dict()

    assert any((start[name] != after[name]).any() for name in start)


@pytest.fixture(scope="module")
def killed(runs_dir) -> tuple[int, str]:
    """Exit code and errors of train.sh after a kill -9 of its trainer behind step 1; the run is called `killed`."""
    overrides = [*SMALL, "trainer.total_training_steps=30", "trainer.save_freq=1", "trainer.test_freq=-1"]
    process = runner.start(["bash", "train.sh", f"runs_dir={runs_dir}", "name=killed", *overrides])
    runner.wait_until(lambda: runs.latest_checkpoint(runs_dir / "killed") is not None, process, timeout=900)
    for trainer in runner.descendants(process.pid, "router_r1.training.trainer"):
        trainer.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_a_killed_trainer_leaves_a_whole_checkpoint_and_says_how_to_go_on(killed, runs_dir):
    code, err = killed

    assert code not in (0, None)
    assert "resume=auto name=killed" in err
    checkpoint = runs.latest_checkpoint(runs_dir / "killed")
    assert f"last whole checkpoint: {checkpoint}" in err
    assert len(cost_window(checkpoint)) == runs.step_of(checkpoint) * BATCH


def test_a_killed_run_resumes_with_the_same_window_and_data_order_and_stops_when_the_pool_dies(killed, ppo, runs_dir):
    run_dir = runs_dir / "killed"
    checkpoint = runs.latest_checkpoint(run_dir)
    resumed_step = runs.step_of(checkpoint) + 1
    window = cost_window(checkpoint)

    process = runner.start(["bash", "train.sh", f"runs_dir={runs_dir}", "name=killed", "resume=auto"])
    runner.wait_until(lambda: runs.step_of(runs.latest_checkpoint(run_dir)) >= resumed_step, process, timeout=900)
    killed_at = runs.step_of(runs.latest_checkpoint(run_dir))
    for server in runner.descendants(process.pid, "router_r1.sim serve"):
        server.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=600)

    assert f"going on from {checkpoint}" in out
    resumed_window = cost_window(run_dir / "checkpoints" / f"global_step_{resumed_step}")
    assert resumed_window[: len(window)] == window
    assert len(resumed_window) == len(window) + BATCH
    assert resumed_step <= PPO_STEPS, "the trainer outran its killer; nothing to compare the data order with"
    assert runner.rollout_questions(run_dir, resumed_step) == runner.rollout_questions(ppo, resumed_step)

    assert process.returncode == 3
    assert "pool unreachable" in err
    last = runs.latest_checkpoint(run_dir)
    assert runs.step_of(last) <= killed_at + 2
    assert f"last whole checkpoint: {last}" in err


def cost_window(checkpoint: Path) -> list[float]:
    return json.loads((checkpoint / runs.COST_WINDOW_FILE).read_text())["roots"]


def test_grpo_trains_on_two_ranks_with_two_engines(runs_dir):
    steps = ["trainer.total_training_steps=2", "trainer.test_freq=2", "trainer.save_freq=-1"]
    done = train(runs_dir, "grpo", *SMALL, *steps, "algorithm.adv_estimator=grpo", "trainer.n_gpus_per_node=2")

    assert done.code == 0, done.out + done.err
    rows = steps_of(runs_dir / "grpo")
    assert sorted(rows) == [1, 2]
    for row in rows.values():
        assert row["actor/grad_norm"] > 0
        assert row["training/rollout_probs_diff_max"] < 1e-3
        assert "actor/kl_loss" in row
        assert "critic/vf_loss" not in row
    outputs = (runs_dir / "grpo" / "rollouts" / "1.jsonl").read_text().splitlines()
    questions = [json.loads(line)["input"] for line in outputs]
    assert len(questions) == 16 * 8
    assert all(questions.count(q) % 8 == 0 for q in questions)


def test_a_skipped_weight_sync_shows_in_the_difference_of_log_probabilities(runs_dir):
    """The control of the agreement test: with an engine that takes the first weights only, the difference jumps."""
    overrides = [
        *PROBED,
        "trainer.total_training_steps=2",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "trainer.val_before_train=false",
        "actor_rollout_ref.actor.optim.lr=3e-3",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls=tests.e2e.deaf_worker.DeafWorkerExtension",
    ]
    done = train(runs_dir, "deaf", *SMALL, *overrides)

    assert done.code == 0, done.out + done.err
    rows = steps_of(runs_dir / "deaf")
    assert rows[1]["training/rollout_log_probs_diff_max"] < 1e-2
    assert rows[2]["training/rollout_log_probs_diff_max"] > 1e-2


def test_real_questions_are_asked_and_answered_from_a_local_folder(runs_dir, tmp_path):
    for dataset, splits in {"nq": ("train", "test"), "hotpotqa": ("train", "dev")}.items():
        for split in splits:
            rows = [
                {
                    "id": f"{split}_{i}",
                    "question": f"who wrote the {dataset} {split} book {i}",
                    "golden_answers": [f"Ann {i}"],
                }
                for i in range(40)
            ]
            file = tmp_path / dataset / f"{split}.jsonl"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = ["router_r1.sim.train_size=32", "router_r1.sim.val_size=16", "trainer.total_training_steps=1"]
    overrides = ["experiment=nq_hotpotqa_cpu", *SMALL, *sizes, "trainer.test_freq=1", "trainer.save_freq=-1"]
    done = train(runs_dir, "real", *overrides, DATA_ROOT=str(tmp_path))

    assert done.code == 0, done.out + done.err
    for step in (0, 1):
        assert set(validation_by_source(runs.read_metrics(runs_dir / "real")[step])) == {"nq", "hotpotqa"}
    first = steps_of(runs_dir / "real")[1]
    assert first["train/valid_routes"] > 0
