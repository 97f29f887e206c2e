"""Observations are seen by the policy and never trained on: actor, critic and advantages ignore them bit by bit.

And that a batch is packed changes nothing of what is computed of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def moved(untrained_policy: Path) -> dict[str, Any]:
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


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        ("actor", {"log_probs", "entropy"}),
        ("warm actor", {"log_probs", "entropy"}),
        ("taught actor", {"log_probs", "entropy", "distillation/loss", "distillation/overlap_ratio"}),
        ("critic", {"values"}),
    ],
)
def test_a_packed_batch_gives_what_upstream_computes_of_a_padded_one(moved, model, outputs):
    assert set(moved["packed"][model]) == outputs | {"loss", "grad_norm"}
    assert max(moved["packed"][model].values()) < 1e-4
