"""The example of docs/extending.md runs as it is printed there."""

from __future__ import annotations

import os
import subprocess
import sys


def test_the_pool_of_ones_own_is_asked(project_root, tmp_path):
    run = subprocess.run(
        [sys.executable, project_root / "examples" / "own_pool.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.splitlines() == [
        "Geographer-7B: The capital of France is Paris.",
        "tokens: 13 in, 6 out; attempts: 1",
        "raw cost: 2.4 micro-USD; spent: 3.7e-06 USD",
    ], run.stderr
