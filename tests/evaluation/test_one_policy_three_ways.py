"""One checkpoint, greedy: the same trajectories in the trainer's validation, in test.sh's engine and through a server.

In float32 on one machine they are the same character by character. In 16 bits, or on other kernels, near ties between
two tokens may fall the other way from one batch to another.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from router_r1.evaluation.records import read_records
from router_r1.sim import SHIPPED_POLICY
from tests.e2e import runner
from tests.rollout.vllm_server import serving

pytestmark = pytest.mark.slow

SIZE = 100


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of train.sh that only validates."""
    runs = tmp_path_factory.mktemp("runs")
    greedy = [f"actor_rollout_ref.rollout.val_kwargs.{value}" for value in ("temperature=0", "do_sample=false")]
    done = runner.train(
        runs, "validated", *runner.SMALL, *greedy, "trainer.val_only=true", f"router_r1.sim.val_size={SIZE}"
    )
    assert (runs / "validated" / "validation" / "0.jsonl").exists(), done.err[-3000:]
    return runs / "validated"


def by_trainer(run: Path) -> dict[str, str]:
    """Question -> everything after the prompt."""
    rows = [json.loads(line) for line in (run / "validation" / "0.jsonl").read_text().splitlines()]
    return {row["input"].rpartition("Question: ")[2].split("\n")[0]: row["output"].strip() for row in rows}


def by_benchmark(run: Path, out: Path, *policy: object) -> dict[str, str]:
    command = [sys.executable, "-m", "router_r1.evaluation", "--run", run, "--out", out, *policy]
    done = runner.run([str(word) for word in command], timeout=900)
    assert done.code == 0, done.err[-3000:]
    return {
        record["question"]: "".join(turn["text"] + turn["observation"] for turn in record["turns"]).strip()
        for record in read_records(out / "trajectories.jsonl")
    }


def test_greedy_trajectories_are_the_same_three_ways(run, tmp_path):
    validated = by_trainer(run)
    in_process = by_benchmark(run, tmp_path / "engine", "--model_path", SHIPPED_POLICY)
    with serving(SHIPPED_POLICY, "policy", tmp_path) as url:
        served = by_benchmark(run, tmp_path / "served", "--base_url", url)
    assert len(validated) == SIZE
    assert in_process == validated
    assert served == validated


def test_two_replicas_in_a_ray_cluster_change_nothing(run, tmp_path):
    options = ["--model_path", SHIPPED_POLICY, "--temperature", "1", "--seed", "3", "--limit", "10"]
    alone = by_benchmark(run, tmp_path / "one", *options)
    assert by_benchmark(run, tmp_path / "two", *options, "--replicas", "2") == alone
