"""Single flight: callers that want the same thing at the same time share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0
    is_claimed: bool = False


class SingleFlight(Generic[T]):
    """Calls in flight by key. A call goes on as long as anybody waits for it, whoever started it."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: str, call: Coroutine[Any, Any, T]) -> tuple[T, bool]:
        """The result of the call under this key, started if there is none, and whether this caller is the first to
        get it (and so the one to pay).
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(call))
        else:
            call.close()
        flight.waiting += 1
        try:
            result = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if self._flights.get(key) is flight and (flight.task.done() or not flight.waiting):
                del self._flights[key]
            if not flight.waiting and not flight.task.done():
                flight.task.cancel()
                await asyncio.wait([flight.task])
        is_first, flight.is_claimed = not flight.is_claimed, True
        return result, is_first
