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
from tests.e2e import runner
from tests.e2e.conftest import STEPS, VALIDATION_QUESTIONS
from tests.rollout.vllm_server import serving

pytestmark = pytest.mark.slow


def by_trainer(run: Path) -> dict[str, str]:
    """Question -> everything after the prompt."""
    rows = [json.loads(line) for line in (run / "validation" / f"{STEPS}.jsonl").read_text().splitlines()]
    return {row["input"].rpartition("Question: ")[2].split("\n")[0]: row["output"].strip() for row in rows}


def by_benchmark(run: Path, out: Path, *policy: object) -> dict[str, str]:
    command = [sys.executable, "-m", "router_r1.evaluation", "--run", run, "--out", out, *policy]
    done = runner.run([str(word) for word in command], timeout=900)
    assert done.code == 0, done.err[-3000:]
    return {
        record["question"]: "".join(turn["text"] + turn["observation"] for turn in record["turns"]).strip()
        for record in read_records(out / "trajectories.jsonl")
    }


def test_greedy_trajectories_are_the_same_three_ways(ppo, tmp_path):
    validated = by_trainer(ppo.folder)
    in_process = by_benchmark(ppo.folder, tmp_path / "engine")
    with serving(ppo.folder / "hf", "policy", tmp_path) as url:
        served = by_benchmark(ppo.folder, tmp_path / "served", "--base_url", url)
    assert len(validated) == VALIDATION_QUESTIONS
    assert in_process == validated
    assert served == validated


def test_two_replicas_in_a_ray_cluster_change_nothing(ppo, tmp_path):
    options = ["--temperature", "1", "--seed", "3", "--limit", "10"]
    alone = by_benchmark(ppo.folder, tmp_path / "one", *options)
    assert by_benchmark(ppo.folder, tmp_path / "two", *options, "--replicas", "2") == alone
