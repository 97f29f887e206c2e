"""A pool server in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.flashrag import flashrag_root as flashrag_root
from tests.doubles.flashrag import write_flashrag as write_flashrag

START_TIMEOUT_S = 60


@contextmanager
def running_server(folder: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A pool server in a process of its own, on a free port; ended by SIGTERM."""
    port_file = folder / "port"
    command = [
        sys.executable,
        "-m",
        "router_r1",
        "sim",
        "serve",
        "--port",
        "0",
        "--port-file",
        str(port_file),
        *options,
    ]
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
