"""Faults that no other file of this folder has: headers that smuggle, bursts of readers that go, the end under load."""

from __future__ import annotations

import asyncio
import json
import random

import openai
import pytest

from tests.integration.routing.conftest import Held, completion, serving
from tests.integration.serving.conftest import asked, reply_to, until

BODY = json.dumps(asked()).encode()
LONGER = 0.002


async def exchange(port: int, request: bytes) -> bytes:
    """Everything that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "path",
    [b"/v1/models/%0d%0aX-Evil:%201", b"/v1/models/router-r1%0d%0aSet-Cookie:%20a=b", b"/v1/%0d%0a%0d%0aX-Evil:1"],
)
async def test_a_path_cannot_write_headers(serve, path):
    async with serve() as served:
        received = await exchange(
            served.port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert b"evil" not in head.lower()
    assert b"cookie" not in head.lower()
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    "header",
    [b"Authorization: Bearer a\r\n b", b"X-A: 1\x00", b"X-A: 1\nContent-Length: 0", b"Content-Length: 5"],
    ids=["folded", "a null byte", "a bare line feed", "two lengths"],
)
async def test_headers_that_could_be_read_in_two_ways_are_refused_or_harmless(serve, header):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += header + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY)
    async with serve() as served:
        received = await exchange(served.port, head + BODY)
        assert served.app.in_flight == 0
        await served.books_balance()
        fine = await served.client().chat.completions.create(**asked())
    assert received.count(b"HTTP/1.1 ") <= 1  # one answer at most: no second request was read out of the first
    assert not received or received.split()[1] in (b"200", b"400")
    assert fine.choices[0].finish_reason == "stop"


async def test_the_id_in_a_header_is_the_servers_own(serve):
    async with serve() as served:
        raw = await served.client().chat.completions.with_raw_response.create(
            **asked(), extra_headers={"X-Request-Id": "mine"}
        )
    assert raw.headers["x-request-id"] == raw.parse().id != "mine"


async def test_readers_that_go_at_any_moment_leave_nothing_behind(serve):
    held = Held(8, completion("late"))
    draw = random.Random(0)
    async with serving(held) as endpoint, serve(candidates=endpoint.base_url, max_concurrent=8) as served:

        async def one() -> None:
            task = asyncio.create_task(_stream(served))
            await asyncio.sleep(draw.uniform(0, 20 * LONGER))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(one() for _ in range(24)))
        held.release.set()
        await served.books_balance()
        assert served.app.answering.spend.spent_usd("local") >= 0
        await until(lambda: served.app.in_flight == 0)


async def test_at_sigterm_under_load_everything_in_flight_ends_and_nothing_else_begins(serve):
    async with serve(max_concurrent=4, max_waiting=100) as served:
        served.policy.gate.clear()
        questions = [f"Who invented number {number}?" for number in range(16)]
        client = served.client()
        running = [asyncio.create_task(client.chat.completions.create(**asked(question))) for question in questions]
        await until(lambda: served.app.answering.places.waiting == 12)  # four are worked on
        served.server.handle_exit(15, None)
        await until(lambda: served.app.is_draining)
        refused = await asyncio.gather(
            *(client.chat.completions.create(**asked()) for _ in range(8)), return_exceptions=True
        )
        assert {getattr(fault, "status_code", None) for fault in refused} == {503}
        served.policy.gate.set()
        replies = await asyncio.gather(*running)
        assert [reply.choices[0].message.content for reply in replies] == [reply_to(question) for question in questions]
        async with asyncio.timeout(30):
            await served.ended
        await served.books_balance()
        with pytest.raises(openai.APIConnectionError):
            await client.chat.completions.create(**asked())


async def _stream(served) -> None:
    async for _ in await served.client().chat.completions.create(**asked(stream=True)):
        pass
