"""Asynchronous code for callers that are not: a script, or a notebook, whose own event loop is running already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def wait_for(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in an event loop of its own.

    A notebook cannot wait in the loop that it runs in: there, the coroutine gets a thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call)
    thread = LoopThread()
    try:
        return thread.run(call)
    finally:
        thread.stop()


class LoopThread:
    """An event loop in a thread of its own, for calls from other threads."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="router-r1", daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(call, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
