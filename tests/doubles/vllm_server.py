"""vLLM's own OpenAI-compatible server, as users start it with `vllm serve`."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from router_r1 import processes
from router_r1.rollout import vllm_environment


@contextmanager
def serving(model: Path, name: str, folder: Path) -> Iterator[str]:
    """Serve a checkpoint in float32 under `name`; its base URL. The log is kept in `folder`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    log = folder / "server.log"
    args = ["--model", str(model), "--port", str(port), "--host", "127.0.0.1", "--dtype", "float32"]
    args += ["--served-model-name", name, "--enforce-eager", "--gpu-memory-utilization", "0.1"]
    env = {**os.environ, **vllm_environment.ALWAYS, **vllm_environment.CPU, "HF_HUB_OFFLINE": "1"}
    server = processes.start("vllm.entrypoints.openai.api_server", args, log=log, env=env)
    try:
        _wait_until_healthy(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        processes.stop(server, grace_s=30)


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(transport=transport, timeout=5) as client:
        while True:  # the test's own time limit ends this
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            try:
                server.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
