from __future__ import annotations

import pytest

from router_r1.pool.schema import RoutingPool


def a_candidate(name: str, *aliases: str) -> dict[str, object]:
    return {
        "name": name,
        "aliases": list(aliases),
        "model": name.lower(),
        "price": {"input": 0.3, "output": 0.6},
        "descriptor": "good at tests",
        "base_url": "http://127.0.0.1:9/v1",
    }


@pytest.fixture(scope="session")
def pool() -> RoutingPool:
    candidates = [
        a_candidate("Qwen2.5-7B-Instruct", "qwen-7b"),
        a_candidate("Mixtral-8x22B"),
        a_candidate("Gemma-2-27B"),
    ]
    return RoutingPool.model_validate({"name": "test", "candidates": candidates})
