"""What a reader is given: everything, in order, texts joined, and only texts held back."""

from __future__ import annotations

import asyncio

import pytest

from router_r1.serving.connections import Unread
from router_r1.serving.live import RouteStarted, Wrote

ROUTE = RouteStarted(0, "Atlas-7B", "q")
LONG_S = 3600.0


async def take_all(unread, pause_s):
    async with asyncio.timeout(20):
        taken = []
        while (event := await unread.take(pause_s)) is not None:
            taken.append(event)
        return taken


async def test_texts_that_follow_each_other_are_one_and_the_order_stays():
    unread = Unread()
    for event in (Wrote("a"), Wrote("b"), ROUTE, Wrote("c")):
        unread.put(event)
    unread.close()
    assert await take_all(unread, LONG_S) == [Wrote("ab"), ROUTE, Wrote("c")]


async def test_the_first_text_is_given_at_once_and_the_next_one_waits_to_be_joined():
    unread = Unread()
    unread.put(Wrote("a"))
    assert await unread.take(LONG_S) == Wrote("a")
    taking = asyncio.create_task(unread.take(LONG_S))
    for text in "bcd":
        unread.put(Wrote(text))
        await asyncio.sleep(0)
    assert not taking.done()
    unread.put(ROUTE)  # what comes behind a text lets it go
    assert await taking == Wrote("bcd")
    assert await unread.take(LONG_S) == ROUTE


async def test_a_text_waits_no_longer_than_the_pause():
    unread = Unread()
    unread.put(Wrote("a"))
    await unread.take(0.05)
    started = asyncio.get_running_loop().time()
    unread.put(Wrote("b"))
    async with asyncio.timeout(20):
        assert await unread.take(0.05) == Wrote("b")
    assert asyncio.get_running_loop().time() - started > 0.04


@pytest.mark.parametrize("held_back", [False, True], ids=["nothing there", "a text held back"])
async def test_the_end_waits_for_nothing(held_back):
    unread = Unread()
    unread.put(Wrote("a"))
    await unread.take(LONG_S)
    taking = asyncio.create_task(take_all(unread, LONG_S))
    await asyncio.sleep(0)
    if held_back:
        unread.put(Wrote("b"))
        await asyncio.sleep(0)
    unread.close()
    assert await taking == [Wrote("b")] * held_back
