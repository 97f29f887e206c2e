"""The pool server as a child process, for as long as something needs it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from router_r1 import processes

_START_TIMEOUT_S = 120.0


@contextmanager
def pool_server(
    log: Path,
    *,
    seed: int = 0,
    latency_scale: float = 1.0,
    qa: Sequence[str | Path] = (),
    recorded: str | Path | None = None,
    options: Sequence[str] = (),
) -> Iterator[str]:
    """Serve the simulated pool, or one of recorded replies, on a free port; yields its base URL.

    Args:
        log: where the server's output goes; its port is written beside it.
        seed: of the world.
        latency_scale: times the simulated latencies.
        qa: FlashRAG files or folders whose questions it answers too.
        recorded: the pool file whose recorded replies are served instead.
        options: further options of `router-r1 sim serve`.

    Raises:
        RuntimeError: the server did not start; the text ends with its last words.
    """
    port_file = log.with_suffix(".port")
    port_file.unlink(missing_ok=True)
    args = ["sim", "serve", "--port", "0", "--port-file", str(port_file), "--seed", str(seed)]
    args += ["--latency-scale", str(latency_scale), *(word for path in qa for word in ("--qa", str(path)))]
    args += ["--recorded", str(recorded)] if recorded else []
    args += options
    server = processes.start("router_r1", args, log=log)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not port_file.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the pool server did not start: {_last_line(log)} (see {log})")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{int(port_file.read_text())}/v1"
    finally:
        processes.stop(server)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"
