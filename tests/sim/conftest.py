import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_TIMEOUT_S = 60


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


@contextmanager
def running_server(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator["Server"]:
    """A pool server in a process of its own, on a free port; ended by SIGTERM."""
    port_file = folder / "port"
    command = [sys.executable, "-m", "router_r1.sim", "serve", "--port", "0", "--port-file", str(port_file), *options]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not port_file.exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.02)
        yield Server(process, int(port_file.read_text()))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


class Server:
    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process = process
        self.base_url = f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="session")
def start_server() -> Callable:
    return running_server


@pytest.fixture
def write_flashrag(tmp_path: Path) -> Callable:
    """Write `{"nq/train": rows}` in FlashRAG's layout; the root."""
    return lambda files: _write_flashrag(tmp_path, files)
