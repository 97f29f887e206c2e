"""A candidate's endpoint on a loopback socket, which does exactly what a test tells it, misbehaviour included."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from router_r1.pool import Candidate, Price, RoutingPool


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float

    @property
    def query(self) -> str:
        return self.body["messages"][0]["content"]


RESET = None
"""Instead of response bytes: reset the connection."""

Behaviour = Callable[[int, Request], Awaitable[bytes | None]]


@dataclass
class Endpoint:
    """An HTTP/1.1 server; `behave(number, request)` gives the raw response to the request with that number, from 0."""

    behave: Behaviour
    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    """The same as they came over the wire."""
    connections: int = 0
    connection_ended: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    response = await self.behave(len(self.requests) - 1, request)
                finally:
                    self.in_flight -= 1
                if response is RESET:
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    return
                writer.write(response)
                await writer.drain()
                if b"connection: close" in response:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, as some tests want it to
        finally:
            self.connection_ended.set()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        head = await reader.readuntil(b"\r\n\r\n")
        start, *lines = head.decode().strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        content = await reader.readexactly(int(headers["content-length"]))
        self.raw.append(head + content)
        return Request(start.split()[1], headers, json.loads(content), asyncio.get_running_loop().time())


def response(status: int, body: object, **headers: str) -> bytes:
    """A complete HTTP response; a `body` that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(content))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


def completion(text: object, usage: object = None) -> bytes:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return response(200, {"id": "c", "object": "chat.completion", "choices": [{"message": message}], "usage": usage})


@dataclass
class Held:
    """A behaviour that answers nobody before `release`; `full` as soon as `count` requests have come."""

    count: int
    answer: bytes
    full: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0

    async def __call__(self, number: int, request: Request) -> bytes:
        self.requests += 1
        if self.requests == self.count:
            self.full.set()
        await self.release.wait()
        return self.answer


def always(*responses: bytes | None) -> Behaviour:
    """The given responses in order, the last one again and again."""

    async def behave(number: int, request: Request) -> bytes | None:
        return responses[min(number, len(responses) - 1)]

    return behave


@asynccontextmanager
async def serving(behave: Behaviour, host: str = "127.0.0.1") -> AsyncIterator[Endpoint]:
    """A server with that behaviour on a free port."""
    server = Endpoint(behave)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(connected, host, 0, backlog=1024)
    server.base_url = f"http://{host}:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def endpoint() -> Callable[[Behaviour], AbstractAsyncContextManager[Endpoint]]:
    """`async with endpoint(behaviour) as server:` serves on a free port."""
    return serving


@pytest.fixture(scope="session")
def endpoint_factory() -> Callable[[Behaviour], AbstractAsyncContextManager[Endpoint]]:
    """The same, for tests with many examples, which must not share a fixture of one example."""
    return serving


def pool_at(base_url: str, *names: str, **settings: Any) -> RoutingPool:
    """A pool whose candidates (default: one, `Small-1B`) all live at `base_url`."""
    values: dict[str, Any] = {"timeout_s": 5.0, "price": Price(input=0.5, output=2.0), "descriptor": "d"} | settings
    return RoutingPool(
        name="test",
        candidates=tuple(
            Candidate(name=name, model=f"org/{name.lower()}", base_url=base_url, **values)
            for name in names or ("Small-1B",)
        ),
    )
