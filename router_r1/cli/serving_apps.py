"""The servers of `router-r1 sim`: an application on a port of this machine, until a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from router_r1 import atomic
from router_r1.errors import ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve_app(application: FastAPI, host: str, port: int, port_file: Path | None, ready: Callable[[str], str]) -> None:
    """Serve it, and say when it is ready.

    Args:
        port: 0 takes a free one.
        port_file: gets the port once it is ready; None: nobody asks for it.
        ready: address (`http://host:port`) -> what to print then.

    Raises:
        ConfigError: nothing can listen there.
    """
    from router_r1.sim.server import app as server

    # A file that an earlier server left behind would name a dead port.
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
        print(ready(f"http://{host}:{bound}"), flush=True)

    # uvicorn raises the signal that ended it once more; by then everything is done, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    server.run(application, sock, on_ready=on_ready)
