"""A small policy that has learned nothing, and runs of the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def untrained_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy's architecture and tokenizer with random weights, as a Hugging Face folder."""
    from router_r1.sim import tiny_policy

    folder = tmp_path_factory.mktemp("untrained")
    tokenizer = tiny_policy.build_tokenizer(["Who directed Bakor? I will ask Omni-72B."] * 50, ["Omni-72B"])
    tiny_policy.build_model(tokenizer, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
