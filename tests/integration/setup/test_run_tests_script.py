"""scripts/run_tests.sh and .ci/run: an empty or failed run is a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXIT_NO_TESTS = 5


def test_a_run_that_collects_nothing_fails(project_root: Path, tmp_path: Path) -> None:
    """pytest itself says so; nothing in the scripts may turn it into success."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(project_root / "pyproject.toml"),
            "--rootdir",
            str(tmp_path),
            str(tmp_path),
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_NO_TESTS
    for script in ("scripts/run_tests.sh", ".ci/run"):
        text = (project_root / script).read_text()
        assert text.splitlines()[-1].startswith("exec "), f"{script} must end with the exit code of what it runs"
        assert "|| true" not in text


def test_ci_runs_the_test_command_of_the_project_under_a_time_limit(project_root: Path) -> None:
    last = (project_root / ".ci/run").read_text().splitlines()[-1]
    assert last.startswith("exec timeout ")
    assert "bash scripts/run_tests.sh" in last
