"""`router-r1 sim retrieve`: a small retriever, for pools in which one stands beside LLMs."""

from __future__ import annotations

import signal
from pathlib import Path

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError

WORLD = "world"


def retrieve(
    *, corpus: str, host: str = "127.0.0.1", port: int = 8766, port_file: Path | None = None, seed: int = 0
) -> int:
    """Serve a BM25 retriever over HTTP (POST /retrieve, as Search-R1's server).

    Parameters
    ----------
    corpus
        Passages: a JSONL file with `contents`, or `world`: the facts of the simulated world.
    host
        Address to listen on.
    port
        0 takes a free one.
    port_file
        Write the port here once the server is ready.
    seed
        Of the world.
    """

    def run() -> None:
        from router_r1 import atomic
        from router_r1.sim.server import app as server
        from router_r1.sim.server.retrieval import create_app, read_passages, world_passages

        passages = world_passages(seed) if corpus == WORLD else read_passages(Path(corpus))
        application = create_app(passages)
        if port_file:
            port_file.unlink(missing_ok=True)
        try:
            sock = server.bind(host, port)
        except (OSError, OverflowError) as fault:
            raise ConfigError("--port", "", port, f"cannot listen on {host}: {fault}") from fault
        bound = sock.getsockname()[1]

        def on_ready() -> None:
            if port_file:
                atomic.write_text(port_file, f"{bound}\n")
            print(f"retriever ready on http://{host}:{bound}/retrieve ({len(passages)} passages)", flush=True)

        # uvicorn raises the signal that ended it once more; by then everything is done, and that is no failure.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        server.run(application, sock, on_ready=on_ready)

    return exit_code_of(run)
