"""A siege: candidates on real sockets that play every fault at random under a seed, and keep books of their own.

What a request meets depends on the seed, the model, the words and how often they were asked before, never on the order
of arrival. The servers know what the service cannot know: what they charged for, and how many requests were in flight.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from router_r1.routing.replies import estimate_tokens

SECRET = "made-up-Qm9ndXNLZXlGb3JUZXN0cw"
CONTROLS = "\x1b[2J\x07\x9b\u202e"
TOO_LARGE = 17 * 1024 * 1024
"""Bytes; more than any reply may have."""


def digest(model: str, query: str) -> str:
    """How every reply to this query begins, so that none can be taken for another's."""
    return hashlib.sha256(f"{model} {query}".encode()).hexdigest()[:16]


# ---------------------------------------------------------------- what a request meets


@dataclass(frozen=True)
class Script:
    """What a server does with one request."""

    pieces: tuple[tuple[float, bytes], ...]
    """(seconds to wait, bytes to send then), one after another."""
    end: str = "keep"
    """What becomes of the connection: keep, close, reset, or hang, which is to say nothing more."""
    tokens: tuple[int, int] = (0, 0)
    """(prompt, completion) that are charged once all is sent, as `docs/routing.md` says they are booked."""
    is_reply: bool = False
    """Whether a text comes with it."""


def respond(status: int, body: object, *lines: bytes) -> bytes:
    """A whole response; a `body` that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [b"HTTP/1.1 %d X" % status, b"content-length: %d" % len(content), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + content


def completion(content: object, usage: object, **message: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": content, **message}}], "usage": usage}


@dataclass(frozen=True)
class Query:
    """One request to play a fault for."""

    model: str
    words: str
    draw: random.Random

    @property
    def text(self) -> str:
        return f"{digest(self.model, self.words)} is the reply"

    def tokens(self) -> tuple[int, int]:
        return self.draw.randint(1, 50), self.draw.randint(1, 50)

    def pause(self, longest_s: float = 0.03) -> float:
        return self.draw.uniform(0, longest_s)


def _usage(tokens: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}


def good(query: Query) -> Script:
    tokens = query.tokens()
    return Script(((query.pause(), respond(200, completion(query.text, _usage(tokens)))),), "keep", tokens, True)


def in_pieces(query: Query) -> Script:
    """A good reply whose bytes trickle, heading included: now and then longer than the timeout."""
    whole, pieces = good(query), query.draw.randint(2, 20)
    content = whole.pieces[0][1]
    size, gap_s = len(content) // pieces + 1, query.draw.choice([0.001, 0.005, 0.02])
    parts = tuple((gap_s, content[i : i + size]) for i in range(0, len(content), size))
    return Script(parts, "keep", whole.tokens, True)


def late(query: Query) -> Script:
    """A good reply at about the time when nobody waits for it any longer."""
    whole = good(query)
    return Script(((query.draw.uniform(0.15, 0.25), whole.pieces[0][1]),), "keep", whole.tokens, True)


def zipped(query: Query) -> Script:
    tokens = query.tokens()
    body = gzip.compress(json.dumps(completion(query.text, _usage(tokens))).encode())
    return Script(((query.pause(), respond(200, body, b"content-encoding: gzip")),), "keep", tokens, True)


def chunked(query: Query) -> Script:
    tokens = query.tokens()
    body = json.dumps(completion(query.text, _usage(tokens))).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n"
    return Script(((query.pause(), head + chunks),), "keep", tokens, True)


def thinking(query: Query) -> Script:
    tokens = query.tokens()
    content = completion(f"<think>hm {CONTROLS}</think>{query.text}", _usage(tokens), reasoning_content="hm")
    return Script(((query.pause(), respond(200, content)),), "keep", tokens, True)


def uncounted(query: Query) -> Script:
    """A reply whose usage is missing or makes no sense: it is charged by its length."""
    odd: list[object] = [None, [], "many", {}, {"prompt_tokens": -1, "completion_tokens": -1}, _usage((0, 0))]
    tokens = estimate_tokens(query.words), estimate_tokens(query.text)
    content = respond(200, completion(query.text, query.draw.choice(odd)))
    return Script(((query.pause(), content),), "keep", tokens, True)


def no_text(query: Query) -> Script:
    """What is no reply, but is charged."""
    tokens = query.tokens()
    content = query.draw.choice([None, "", " \n", {"text": "yes"}, [1], 7, "<think>hm</think>"])
    return Script(((query.pause(), respond(200, completion(content, _usage(tokens)))),), "keep", tokens)


def echo(query: Query) -> Script:
    """A reply that repeats the key."""
    tokens = query.tokens()
    said = f"{query.text} to Bearer {SECRET}, {SECRET[:14]}***, ***{SECRET[-10:]}"
    return Script(((query.pause(), respond(200, completion(said, _usage(tokens)))),), "keep", tokens, True)


RETRY_AFTERS = [
    *("0", "0.01", "0.05", "1", "30", "-1", "soon", "nan", "1" * 5000),
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Wed, 21 Oct 2026 07:28:10 +9999",
]


def throttle(query: Query) -> Script:
    line = b"retry-after: " + query.draw.choice(RETRY_AFTERS).encode()
    return Script(((query.pause(0.005), respond(query.draw.choice([429, 429, 503]), {"error": "busy"}, line)),))


def refuse(query: Query) -> Script:
    status = query.draw.choice([400, 402, 403, 404, 405, 413, 418, 422, 451, 401])
    body = {"error": {"message": f"{CONTROLS} Bearer {SECRET}; {SECRET[3:-3]} is no key", "param": SECRET}}
    return Script(((query.pause(0.005), respond(status, body, b"x-key: " + SECRET.encode())),))


def fail(query: Query) -> Script:
    status = query.draw.choice([408, 409, 500, 502, 503, 504, 599, 301, 302, 307, 204, 206, 304, 101, 999])
    body = query.draw.choice([b"", b"<html>busy</html>", f"{CONTROLS}{SECRET}".encode(), b"\xff\x00" * 100])
    head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nlocation: /v1/elsewhere\r\n\r\n" % (status, len(body))
    return Script(((query.pause(0.005), head + body),), "close")


def useless(query: Query) -> Script:
    """Status 200 and nothing that could be read."""
    bodies = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"<html>",
        b"[" * 50_000,
        b'"\xff"',
        b'{"choices": [null]}',
        b"NaN",
        b"7" * 5000,
    ]
    return Script(((query.pause(), respond(200, query.draw.choice(bodies), b"content-type: text/html")),))


def odd_headers(query: Query) -> Script:
    lines = [b"retry-after: \xff\xfe", b"\xff: 1", b": nameless", b"no colon", b"folded: a\r\n b", b"content-length: 5",
             b"content-length: -1", b"transfer-encoding: chunked", b"content-encoding: br", b"content-encoding: gzip",
             b"set-cookie: \x01;;=\xff", b"content-type: \xff", b"x: \x00", b"big: " + b"v" * 100_000]  # fmt: skip
    chosen = query.draw.sample(lines, query.draw.randint(1, 3))
    return Script(((query.pause(0.005), respond(query.draw.choice([200, 429, 500]), b"{}", *chosen)),), "close")


def cut(query: Query) -> Script:
    """A good reply of which at least the last byte is missing."""
    content = good(query).pieces[0][1]
    return Script(
        ((query.pause(), content[: query.draw.randrange(len(content))]),), query.draw.choice(["close", "reset"])
    )


def hang(query: Query) -> Script:
    content = good(query).pieces[0][1]
    return Script(((0.0, content[: query.draw.choice([0, 0, 9, len(content) - 1])]),), "hang")


def too_large(query: Query) -> Script:
    if query.draw.random() < 0.5:
        return Script(((0.0, respond(200, gzip.compress(b" " * TOO_LARGE, 1), b"content-encoding: gzip")),))
    return Script(((0.0, respond(200, b" " * TOO_LARGE)),))


Play = Callable[[Query], Script]
GOOD: dict[Play, float] = {good: 10, in_pieces: 1, zipped: 1, chunked: 1, thinking: 1}
MOODS: dict[str, dict[Play, float]] = {
    "calm": GOOD,
    "mixed": {
        **GOOD, late: 1, uncounted: 2, no_text: 2, echo: 1, throttle: 2, refuse: 1, fail: 2, useless: 1, odd_headers: 1,
        cut: 2, hang: 1, too_large: 0.05,
    },
    "hostile": {
        good: 4, late: 3, uncounted: 1, no_text: 2, echo: 1, throttle: 2, refuse: 3, fail: 3, useless: 2,
        odd_headers: 2, cut: 3, hang: 3, too_large: 0.1,
    },
    "throttling": {good: 2, throttle: 10},
    "silent": {hang: 1},
}  # fmt: skip
"""What a server is likely to do, by weight."""


# ---------------------------------------------------------------- books


@dataclass(eq=False)
class Asked:
    """One request, as its server saw it."""

    candidate: str
    endpoint: str
    query: str
    came: float
    script: Script | None = None
    delivered: float | None = None
    """When the last byte of the script was sent, in the loop's time."""
    was_read: bool = False
    """Another request came over the same connection, so that the reply must have been read."""
    connection_ended: float | None = None

    def is_surely_read(self, within_s: float) -> bool:
        """Whether the client has read all of it: a client that gives up closes the connection at once."""
        if self.was_read:
            return True
        return self.delivered is not None and (
            self.connection_ended is None or self.connection_ended - self.delivered >= within_s
        )


class Books:
    """What several servers of one pool saw, together.

    Args:
        limits: most requests in flight, by candidate and by endpoint.
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self.requests: list[Asked] = []
        self.in_flight: set[Asked] = set()
        self.excesses: list[str] = []
        self._limits = limits

    def open(self, asked: Asked) -> None:
        self.requests.append(asked)
        self.in_flight.add(asked)
        if self._exceeded():
            # A connection that was given up and the request that takes its place may be seen in either order.
            asyncio.get_running_loop().call_later(0.005, lambda: self.excesses.extend(self._exceeded()))

    def times_asked(self, asked: Asked) -> int:
        """How often before this one."""
        same = (asked.candidate, asked.query)
        return sum((other.candidate, other.query) == same for other in self.requests if other is not asked)

    def _exceeded(self) -> list[str]:
        counts = {name: sum(name in (a.candidate, a.endpoint) for a in self.in_flight) for name in self._limits}
        return [
            f"{n} in flight at {name} of {self._limits[name]}" for name, n in counts.items() if n > self._limits[name]
        ]


# ---------------------------------------------------------------- the server


@dataclass
class SiegeServer:
    """One endpoint. Its port stays the same when it is restarted."""

    name: str
    seed: int
    books: Books
    names: dict[str, str]  # model id -> candidate
    mood: str = "mixed"
    port: int = 0
    connections: set[_Connection] = field(default_factory=set)
    listener: asyncio.Server | None = None
    going_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=256)
        self.port = self.listener.sockets[0].getsockname()[1]
        self.going_on.set()

    def stop(self) -> None:
        """Nobody is let in any more, and all connections are cut."""
        if self.listener:
            self.listener.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def pause(self) -> None:
        """Requests are taken, but nothing is said until `start` or `resume`."""
        self.going_on.clear()

    def resume(self) -> None:
        self.going_on.set()

    def script(self, asked: Asked, model: str) -> Script:
        draw = random.Random(f"{self.seed} {model} {asked.query} {self.books.times_asked(asked)} {self.mood}")
        weights = MOODS[self.mood]
        play = draw.choices(list(weights), list(weights.values()))[0]
        return play(Query(model, asked.query, draw))


class _Connection(asyncio.Protocol):
    """Takes one request after another, and notices at once when the client goes away."""

    def __init__(self, server: SiegeServer) -> None:
        self.server = server
        self.transport: asyncio.Transport
        self._received = b""
        self._asked: Asked | None = None
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        for body in self._bodies():
            loop, server = asyncio.get_running_loop(), self.server
            if self._asked:
                self._asked.was_read = True
            query = body["messages"][-1]["content"]
            self._asked = Asked(server.names[body["model"]], server.name, query, loop.time())
            server.books.open(self._asked)
            self._playing = loop.create_task(self._play(self._asked, body["model"]))

    def _bodies(self) -> Iterator[dict]:  # type: ignore[type-arg]
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length:")[2].split()[0])
            if len(rest) < size:
                return
            self._received = rest[size:]
            yield json.loads(rest[:size])

    async def _play(self, asked: Asked, model: str) -> None:
        await self.server.going_on.wait()
        asked.script = script = self.server.script(asked, model)
        for wait_s, content in script.pieces:
            if wait_s:
                await asyncio.sleep(wait_s)
            self.transport.write(content)
        if script.end == "hang":
            return
        asked.delivered = asyncio.get_running_loop().time()
        self.server.books.in_flight.discard(asked)
        if script.end == "close":
            self.transport.close()
        elif script.end == "reset":
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()
        self.server.connections.discard(self)

    def _ended(self) -> None:
        if self._asked and self._asked.connection_ended is None:
            self._asked.connection_ended = asyncio.get_running_loop().time()
            self.server.books.in_flight.discard(self._asked)
        if self._playing:
            self._playing.cancel()
