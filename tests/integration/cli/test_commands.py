"""A single question as a user asks it, with an engine of its own."""

import json
import subprocess
import sys

import pytest

from tests.integration.conftest import question_of

pytestmark = pytest.mark.slow


def test_a_question_without_a_gpu(tiny_checkpoint, pool_file, candidates, project_root):
    policy = ["--model_path", str(tiny_checkpoint), "--pool", str(pool_file), "--template", "tiny"]
    command = [sys.executable, project_root / "infer_vllm.py", "--question", question_of("France"), "--json", *policy]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    assert asked.returncode == 0, asked.stderr[-3000:]
    record = json.loads(asked.stdout)
    assert record["status"] == "answered"
    assert record["routes"] == len(candidates.asked) == 1
