"""`router-r1 view`: the pages, for folders of runs and benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from router_r1.cli.running import exit_code_of
from router_r1.errors import ConfigError
from router_r1.serving.listening import ListeningOptions

if TYPE_CHECKING:
    import socket

    from router_r1.pages.viewer import Viewer

Listening = Annotated[ListeningOptions, Parameter(name="*", group="Listening (docs/serving.md)")]


def view(*folders: Path, listening: Listening = ListeningOptions()) -> int:
    """Look at runs and benchmarks in a browser: trajectories, training curves while they grow, comparisons.

    Parameters
    ----------
    folders
        Folders of runs and benchmarks, or folders that hold such.
    """

    def run() -> None:
        from router_r1.pages.folders import Folders, check_roots
        from router_r1.pages.viewer import Viewer
        from router_r1.serving.keys import load_keys
        from router_r1.serving.process import bind, run_server

        if not folders:
            raise ConfigError("command line", "DIR", None, "is needed: a folder of runs or benchmarks, such as runs/")
        check_roots(folders)
        keys = load_keys(listening.client_keys, listening.client_key_variable)
        listening.check(keys)
        sock = bind(listening.host, listening.port)
        try:
            run_server(_serve(Viewer(Folders(folders), keys), listening, sock))
        finally:
            sock.close()

    return exit_code_of(run)


async def _serve(app: Viewer, listening: ListeningOptions, sock: socket.socket) -> None:
    from router_r1.serving.process import Server

    listening.forget_port()
    await Server(
        app, drain_s=0, on_ready=lambda: print(f"pages at {listening.tell_port(sock)}/", file=sys.stderr)
    ).serve(sockets=[sock])
