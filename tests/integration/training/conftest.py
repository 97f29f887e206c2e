"""A run on a real pool and a user's own files, all sound, whose single parts a test may spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from router_r1.datasets import Question, question_row, write_parquet

REAL_POOL = {
    "name": "real",
    "defaults": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": None},
    "candidates": [{"name": "A-7B", "model": "a", "price": {"input": 0.1, "output": 0.2}, "descriptor": "good at all"}],
}


@pytest.fixture(scope="session")
def untrained_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy's architecture and tokenizer with random weights, as a Hugging Face folder."""
    from router_r1.training.simulation import untrained_policy

    return untrained_policy(tmp_path_factory.mktemp("untrained"))


@pytest.fixture
def pool_file(tmp_path):
    def write(**changes) -> Path:
        pool = yaml.safe_load(yaml.safe_dump(REAL_POOL))
        for dotted, value in changes.items():
            where, (*parents, last) = pool, dotted.split("__")
            for part in parents:
                where = where[int(part) if part.isdigit() else part]
            if value is ...:
                del where[last]
            else:
                where[last] = value
        file = tmp_path / "pool.yaml"
        file.write_text(yaml.safe_dump(pool))
        return file

    return write


@pytest.fixture
def questions(tmp_path):
    """Train and validation files of the right form."""
    files = []
    for split in ("train", "val"):
        item = Question("1", "Who?", ("Me",))
        row = question_row(item, data_source="nq", split=split, index=0, messages=[{"role": "user", "content": "Who?"}])
        files.append(tmp_path / f"{split}.parquet")
        write_parquet([row], files[-1])
    return files


@pytest.fixture
def own_data(questions, untrained_policy, pool_file) -> dict[str, Any]:
    """What makes the default experiment a run on a real pool and the user's own files."""
    train, val = map(str, questions)
    return {
        "router_r1.sim.enabled": False,
        "router_r1.reward.cost_coe": 0.0,
        "router_r1.pool": str(pool_file()),
        "data.train_files": train,
        "data.val_files": val,
        "actor_rollout_ref.model.path": str(untrained_policy),
    }
