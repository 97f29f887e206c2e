"""The server as a process: its socket, its signals, and its end in good order.

At SIGTERM or Ctrl-C new requests get a 503, and those in flight may go on for `drain_s`; then the process ends by
itself. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Protocol

import uvicorn
import uvloop

from router_r1.errors import ConfigError

_TICK_S = 0.05
_LAST_WORDS_S = 2.0  # for clients that do not take what is written, when the time is up


def run_server(serving: Coroutine[Any, Any, None]) -> None:
    """Run a server to its end, as `asyncio.run` does, in uvloop's event loop: a stream costs a quarter less CPU."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


class Drained(Protocol):
    """An ASGI application that can be ended in good order."""

    is_draining: bool
    """New requests are refused."""

    @property
    def in_flight(self) -> int:
        """Requests whose responses are not yet at their end."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Server(uvicorn.Server):
    """A uvicorn server that first refuses and only then stops to listen.

    Args:
        app: what it serves.
        drain_s: longest time that requests in flight get at the end.
        on_ready: called once connections are accepted.
    """

    def __init__(self, app: Drained, *, drain_s: float, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            http="httptools",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(_LAST_WORDS_S),
            ws="none",
        )
        super().__init__(config)
        self._app, self._drain_s, self._on_ready = app, drain_s, on_ready
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What uvicorn does with a signal. The signal is not raised once more at the end: this is no failure."""
        if self.started:
            self._loop.call_soon_threadsafe(self.drain)
        else:
            self.should_exit = True

    def drain(self) -> None:
        """Refuse what is new, and end when nothing is in flight; called again, end at once."""
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._app.is_draining = True
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        deadline = self._loop.time() + self._drain_s
        while self._app.in_flight and self._loop.time() < deadline:  # noqa: ASYNC110 (uvicorn itself looks ten times a second)
            await asyncio.sleep(_TICK_S)
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one.

    Raises:
        ConfigError: the address is taken, or not of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as fault:
        raise ConfigError("command line", "--port", port, f"cannot listen on {host}: {fault.strerror}") from None
    return sock
