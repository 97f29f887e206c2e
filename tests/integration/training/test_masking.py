"""Observations are seen by the policy and never trained on: actor, critic and advantages ignore them bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moved(untrained_policy: Path) -> dict[str, dict[str, float]]:
    """How far each poisoned batch moved the weights, from a process of its own."""
    program = Path(__file__).with_name("masked_step.py")
    done = subprocess.run([sys.executable, program, untrained_policy], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))[7:])


@pytest.mark.parametrize("model", ["actor", "critic"])
def test_poisoned_observation_tokens_leave_the_weights_bit_identical(moved, model):
    assert moved[model]["step"] > 0
    assert moved[model]["masked"] == 0.0


@pytest.mark.parametrize("model", ["actor", "critic"])
def test_a_poisoned_policy_token_does_change_the_weights(moved, model):
    assert moved[model]["trained"] > 0


def test_advantages_and_their_whitening_ignore_values_of_observation_tokens(moved):
    assert moved["gae"]["masked"] == 0.0
    assert moved["gae"]["trained"] > 0
