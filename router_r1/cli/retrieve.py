"""`router-r1 sim retrieve`: a small retriever, for pools in which one stands beside LLMs."""

from __future__ import annotations

from pathlib import Path

from router_r1.cli.running import exit_code_of
from router_r1.cli.serving_apps import serve_app

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
        from router_r1.sim.server.retrieval import create_app, read_passages, world_passages

        passages = world_passages(seed) if corpus == WORLD else read_passages(Path(corpus))
        ready = f"({len(passages)} passages)"
        serve_app(create_app(passages), host, port, port_file, lambda at: f"retriever ready on {at}/retrieve {ready}")

    return exit_code_of(run)
