"""A small policy that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def untrained_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy's architecture and tokenizer with random weights, as a Hugging Face folder."""
    from router_r1.training.simulation import untrained_policy

    return untrained_policy(tmp_path_factory.mktemp("untrained"))
