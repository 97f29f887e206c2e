"""scripts/gpu_smoke.py with the tiny policy: what a person with GPUs starts first cannot rot."""

from __future__ import annotations

import sys
import tempfile

import pytest

from tests.e2e import runner

pytestmark = pytest.mark.slow

TINY = ("platform=cpu", "router_r1.template=tiny", "router_r1.sim.warm_start=null", "data.max_prompt_length=256")


@pytest.fixture
def folder():
    """For temporary files; Ray's sockets lie there, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield folder


@pytest.mark.nightly
def test_the_smoke_is_killed_resumed_and_passes(folder):
    command = [sys.executable, "scripts/gpu_smoke.py", *TINY]
    done = runner.run(command, timeout=1100, TMPDIR=folder)
    assert done.code == 0, done.out + done.err
    assert "a trainer killed (-9) after its first step left a whole checkpoint" in done.out
    assert "2 steps of 16 trajectories, all metrics finite" in done.out


def test_a_smoke_that_cannot_start_says_why_and_fails(folder):
    command = [sys.executable, "scripts/gpu_smoke.py", *TINY, "data.train_batch_size=15"]
    done = runner.run(command, timeout=300, TMPDIR=folder)
    assert done.code == 1
    assert "failed: the training ended with code 2" in done.err
