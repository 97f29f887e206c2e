"""A client that closes its connection: its trajectory ends, its routes too, and the books balance."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from tests.integration.routing.conftest import Held, completion, serving
from tests.integration.serving.conftest import asked, until


@asynccontextmanager
async def connected(served, **more):
    """A request on a raw socket, and what comes back."""
    body = json.dumps(asked(**more)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_while_the_policy_writes_its_turn_is_cancelled(serve, stream):
    async with serve() as served:
        served.policy.gate.clear()
        async with connected(served, stream=stream):
            await served.policy.waits.wait()
        await served.books_balance()
        await until(lambda: served.log_lines)
        assert served.policy.cancelled == 1
        assert served.router.routes.ledger.total().started == 0
    (line,) = served.log_lines
    assert (line["status"], line["path"]) == (499, "/v1/chat/completions")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_while_a_candidate_is_asked_its_request_is_cancelled_and_booked_as_such(serve, stream):
    held = Held(1, completion("late"))
    async with serving(held) as endpoint, serve(candidates=endpoint.base_url) as served:
        async with connected(served, stream=stream):
            await held.full.wait()
        await served.books_balance()
        held.release.set()  # its answer finds nobody
        async with asyncio.timeout(20):
            await endpoint.connection_ended.wait()
        account = served.router.routes.ledger.accounts["Newton-8B"]
        assert (account.started, account.cancelled, account.finished) == (1, 1, 0)
        assert served.app.answering.spend.spent_usd("local") == 0


async def test_while_it_waits_for_its_turn_the_next_one_moves_up(serve):
    async with serve(max_concurrent=1) as served:
        served.policy.gate.clear()
        async with connected(served):
            await served.policy.waits.wait()
            async with connected(served):
                await until(lambda: served.app.answering.places.waiting == 1)
            await until(lambda: served.app.answering.places.waiting == 0)
            served.policy.gate.set()
        await served.books_balance()
        assert len(set(served.policy.request_ids)) == 1


async def test_before_its_body_is_sent_nothing_is_asked(serve):
    async with serve() as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        await writer.drain()
        await until(lambda: served.app.in_flight == 1)
        writer.transport.abort()
        await until(lambda: served.log_lines)
        assert (served.log_lines[0]["status"], served.policy.contexts) == (499, [])


async def test_a_body_that_does_not_come_is_408(serve):
    async with serve(request_timeout_s=0.2) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        received = await reader.readuntil(b"\r\n")
        writer.transport.abort()
    assert received == b"HTTP/1.1 408 Request Timeout\r\n"


async def test_a_reader_that_takes_nothing_holds_up_no_trajectory(serve):
    long = " ".join(f"word{number}" for number in range(120))
    async with serve(lambda context: f"<think> {long} </think> <answer> done </answer>", max_concurrent=1) as served:
        async with connected(served, stream=True) as reader:
            await until(lambda: served.policy.contexts and served.app.answering.places.held == 0)
            other = await served.client().chat.completions.create(**asked())
            assert other.choices[0].message.content == "done"
            received = b""
            while b"data: [DONE]" not in received:
                received += await reader.read(1 << 16)
        assert received.count(b'"content": "done"') == 1
