"""Limits of a key and of all together, with clocks that a test turns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.serving.api_errors import ApiError
from router_r1.serving.limits import DailySpend, KeyBudgetSpent, Places, RequestRate


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


# ---------------------------------------------------------------- requests per minute


def test_a_request_too_many_is_told_when_the_oldest_falls_out_of_the_minute():
    clock = Clock()
    rate = RequestRate(2, clock)
    rate.admit("a")
    clock.time += 20
    rate.admit("a")
    rate.admit("b")
    clock.time += 10
    with pytest.raises(ApiError) as caught:
        rate.admit("a")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "30"})
    clock.time += 30
    rate.admit("a")


def test_without_a_limit_none_is_kept():
    rate = RequestRate(None)
    for _ in range(1000):
        rate.admit("a")


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_holds_more_than_the_limit_and_waiting_as_told_is_enough(pauses, limit):
    clock = Clock()
    rate, admitted = RequestRate(limit, clock), []
    for pause in pauses:
        clock.time += pause
        try:
            rate.admit("a")
        except ApiError as refusal:
            clock.time += float(refusal.headers["Retry-After"])
            rate.admit("a")
        admitted.append(clock.time)
    for time in admitted:
        assert sum(time <= other < time + 60 for other in admitted) <= limit


# ---------------------------------------------------------------- money


def test_a_key_may_spend_up_to_its_limit_and_the_next_day_again():
    now = [datetime(2026, 3, 1, 23, 59, tzinfo=UTC)]
    spend = DailySpend(0.3, lambda: now[0])
    for _ in range(2):
        spend.book("a", 0.1)
    spend.check("a")
    spend.book("a", 0.1)
    assert spend.spent_usd("a") == Decimal("0.3")
    with pytest.raises(KeyBudgetSpent, match=r"spent 0\.3 of 0\.3 USD today"):
        spend.check("a")
    spend.check("b")
    now[0] += timedelta(minutes=1)
    spend.check("a")
    assert spend.spent_usd("a") == 0


def test_without_a_limit_everything_may_be_spent():
    spend = DailySpend(None)
    spend.book("a", 1e9)
    spend.check("a")


# ---------------------------------------------------------------- places


async def test_places_are_given_first_come_first_served_and_a_full_queue_refuses():
    places, order, leave = Places(1, 2), [], asyncio.Event()

    async def one(name: str) -> None:
        async with places.place():
            order.append(name)
            await leave.wait()

    tasks = [asyncio.create_task(one(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert (places.held, places.waiting) == (1, 2)
    with pytest.raises(ApiError, match="1 requests are worked on, and 2 wait") as caught:
        places.check()
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    leave.set()
    await asyncio.gather(*tasks)
    assert (order, places.held, places.waiting) == (["a", "b", "c"], 0, 0)


async def test_who_gives_up_waiting_or_fails_leaves_nothing_behind():
    places, leave = Places(1, 5), asyncio.Event()

    async def one() -> None:
        async with places.place():
            await leave.wait()
            raise ValueError

    holder, waiter = asyncio.create_task(one()), asyncio.create_task(one())
    await asyncio.sleep(0)
    waiter.cancel()
    leave.set()
    await asyncio.gather(holder, waiter, return_exceptions=True)
    assert (places.held, places.waiting) == (0, 0)
    async with asyncio.timeout(5), places.place():
        assert places.held == 1


async def test_without_a_queue_a_free_place_is_given_all_the_same():
    places = Places(1, 0)
    async with places.place():
        with pytest.raises(ApiError):
            places.check()
    places.check()
