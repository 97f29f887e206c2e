"""Asynchronous code for callers that are not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from router_r1.event_loops import wait_for


async def where() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


async def failing() -> None:
    raise ValueError("no")


def test_a_script_waits_in_its_own_thread():
    assert wait_for(where()) == threading.get_ident()


async def test_where_a_loop_is_running_a_thread_is_waited_for():
    threads = threading.active_count()
    assert wait_for(where()) != threading.get_ident()
    assert threading.active_count() == threads


async def test_an_error_reaches_the_caller():
    with pytest.raises(ValueError, match="no"):
        wait_for(failing())
