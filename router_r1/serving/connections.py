"""One HTTP exchange: the body read within its bounds, work that ends with its client, a stream of events.

Invariants:

- no more of a body is kept than the bound allows, whatever its headers say;
- work for a client is cancelled as soon as the client has closed the connection, and has ended when this returns;
- what a reader has not yet taken is joined, so that a slow one costs at most the text of its own trajectory;
- only texts are held back, and only for as long as it takes to send one of every other stream: no route, and no end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from router_r1.serving.answering import Answering, Outcome, Prepared
from router_r1.serving.api_errors import CLIENT_CLOSED_REQUEST, ApiError, ClientGone
from router_r1.serving.chat_response import Chunks, sse
from router_r1.serving.live import Event, Writing, Wrote

TEXTS_PER_S = 2500.0
"""Of all streams together. A text costs the event loop some 0.2 ms on its way out, however long it is."""

T = TypeVar("T")
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def notes_of(scope: dict[str, Any]) -> dict[str, Any]:
    """What the access log will say of a request; to be added to."""
    notes: dict[str, Any] = scope.setdefault("router_r1.notes", {})
    return notes


async def read_body(request: Request, max_bytes: int, within_s: float) -> bytes:
    """The body of a request.

    Raises:
        ApiError: 413, it is longer than `max_bytes`; 408, it takes longer than `within_s`.
        ClientGone: it was not sent to its end.
    """
    try:
        async with asyncio.timeout(within_s):
            return await _whole_body(request, max_bytes)
    except TimeoutError:
        message = f"the body was not sent within {within_s:g} s"
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, message, code="timeout") from None


async def _whole_body(request: Request, max_bytes: int) -> bytes:
    too_long = ApiError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {max_bytes} bytes", code="request_too_large"
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > max_bytes:
        raise too_long
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_long
        if not message.get("more_body", False):
            return bytes(body)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of work for a client whose request is read.

    Raises:
        ClientGone: the client closed the connection first; the work was cancelled.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Unread:
    """The events that a reader has not yet taken; texts that follow each other are one."""

    def __init__(self) -> None:
        self._events: deque[Event | Writing] = deque()
        self._closed = False
        self._some, self._ripe = asyncio.Event(), asyncio.Event()
        self._text_due = 0.0  # by the loop's clock

    def put(self, event: Event | Writing) -> None:
        if not (self._events and self._events[-1] is event):  # a turn of which there is still more
            self._events.append(event)
        self._note()

    def close(self) -> None:
        """There will be no more."""
        self._closed = True
        self._note()

    async def take(self, pause_s: float = 0.0) -> Event | None:
        """The next one, as soon as it is there; None at the end.

        Args:
            pause_s: between two texts with nothing between them: what is written meanwhile joins the second.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            if not self._ripe.is_set() and loop.time() < self._text_due:
                try:
                    async with asyncio.timeout_at(self._text_due):
                        await self._ripe.wait()
                except TimeoutError:
                    pass
            if not self._events:
                return None
            event = self._events[0]
            if not isinstance(event, Writing | Wrote):
                self._events.popleft()
                self._note()
                return event
            if text := self._take_text():
                self._text_due = loop.time() + pause_s
                return Wrote(text)

    def _take_text(self) -> str:
        """All that was written before the next event that is no text."""
        found = ""
        while self._events and isinstance(event := self._events[0], Writing | Wrote):
            found += event.take() if isinstance(event, Writing) else event.text
            self._events.popleft()
        self._note()
        return found

    def _note(self) -> None:
        """Wake the reader if there is something for it: anything, or anything but a text that may still grow."""
        _set(self._some, self._closed or bool(self._events))
        _set(self._ripe, self._closed or any(not isinstance(event, Writing | Wrote) for event in self._events))


def _set(flag: asyncio.Event, value: bool) -> None:
    if value:
        flag.set()
    else:
        flag.clear()


async def events_of(answering: Answering, asked: Prepared) -> AsyncGenerator[Event | Outcome, None]:
    """What happens while a request is answered, and at last its outcome. Closing it cancels the trajectory.

    Where many streams are written at once, a text holds the tokens of some time: what all texts cost is bounded.

    Raises:
        ApiError: as `Answering.answer`.
    """
    unread = Unread()
    working = asyncio.create_task(answering.answer(asked, unread.put))
    working.add_done_callback(lambda _: unread.close())
    try:
        while (event := await unread.take((answering.places.held - 1) / TEXTS_PER_S)) is not None:
            yield event
        yield await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


class EventStream(Response):
    """A response of server-sent events (html.spec.whatwg.org/multipage/server-sent-events.html).

    Args:
        seen: called when the first event of the trajectory is there, and with its outcome or fault.
        patience_s: for a reader that takes nothing.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        answering: Answering,
        asked: Prepared,
        chunks: Chunks,
        *,
        seen: Callable[[Event | Outcome | ApiError], None],
        patience_s: float,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Request-Id": asked.id})
        del self.headers["content-length"]
        self._answering, self._asked, self._chunks = answering, asked, chunks
        self._seen, self._patience_s = seen, patience_s

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await while_connected(receive, self._send_all(send))
        except ClientGone:
            notes_of(scope)["status"] = CLIENT_CLOSED_REQUEST

    async def _send_all(self, send: Send) -> None:
        async def send_one(body: bytes, *, more: bool = True) -> None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await send({"type": "http.response.body", "body": body, "more_body": more})
            except (TimeoutError, OSError):
                raise ClientGone from None

        await send_one(self._chunks.begin())
        events = events_of(self._answering, self._asked)
        try:
            async for event in events:
                self._seen(event)
                if isinstance(event, Outcome):
                    for chunk in self._chunks.end(event):
                        await send_one(chunk)
                else:
                    await send_one(self._chunks.event(event))
        except ApiError as fault:
            self._seen(fault)
            await send_one(sse(fault.body))
        finally:
            await events.aclose()
        await send_one(b"", more=False)
