"""The commands as a user starts them, with an engine of their own."""

import json
import subprocess
import sys

import pytest

from tests.integration.conftest import CAPITALS, question_of, write_questions

pytestmark = pytest.mark.slow


def run(*command):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL
    )


def test_a_question_and_a_benchmark_without_a_gpu(tiny_checkpoint, pool_file, candidates, project_root, tmp_path):
    policy = ["--model_path", str(tiny_checkpoint), "--pool", str(pool_file), "--template", "tiny"]
    asked = run(project_root / "infer_vllm.py", "--question", question_of("France"), "--json", *policy)
    assert asked.returncode == 0, asked.stderr[-3000:]
    record = json.loads(asked.stdout)
    assert record["status"] == "answered"
    assert record["routes"] == len(candidates.requests) == 1

    questions = write_questions(tmp_path / "test.parquet", {"capitals": CAPITALS})
    tested = run("-m", "router_r1", "bench", "--data", questions, "--out", tmp_path / "out", *policy)
    assert tested.returncode == 0, tested.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["mean"]["n"] == len(CAPITALS)
    assert results["mean"]["routes"] > 0
    assert "capitals" in tested.stdout
