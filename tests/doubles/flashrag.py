"""Question files in FlashRAG's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def _write_flashrag(root: Path, files: dict[str, list[dict]]) -> Path:
    for name, rows in files.items():
        path = root / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def flashrag_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of invented questions."""

    def rows(dataset: str, split: str, n: int) -> list[dict]:
        return [
            {
                "id": f"{split}_{i}",
                "question": f"which {dataset} {split} river runs past castle {chr(97 + i // 26)}{chr(97 + i % 26)}orn",
                "golden_answers": [f"{dataset} river {i}", f"the {dataset} {i}"],
            }
            for i in range(n)
        ]

    files = {"nq/train": rows("nq", "train", 120), "nq/test": rows("nq", "test", 20)}
    files |= {"hotpotqa/train": rows("hotpotqa", "train", 120), "hotpotqa/dev": rows("hotpotqa", "dev", 20)}
    return _write_flashrag(tmp_path_factory.mktemp("flashrag"), files)


@pytest.fixture
def write_flashrag(tmp_path: Path) -> Callable:
    """Write `{"nq/train": rows}` in FlashRAG's layout; the root."""
    return lambda files: _write_flashrag(tmp_path, files)
