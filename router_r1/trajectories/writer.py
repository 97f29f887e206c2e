"""A thread that writes, so that no request waits for a disk.

Invariants:

- `keep` returns at once, and raises nothing: what does not fit the queue, or cannot be written, is counted and lost;
- what was handed over first is done first, so that feedback finds the trajectory that was answered before it;
- `close` returns when everything that was handed over has been done.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from router_r1.trajectories.kept import Feedback, KeptTrajectory
from router_r1.trajectories.store import TrajectoryStore

logger = logging.getLogger(__name__)

_LONGEST_QUEUE = 1_000
_AT_ONCE = 100  # trajectories in one transaction, which costs as much as that of one
_TRIM_EVERY_S = 10.0
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Retention:
    """What is kept: at most so many days and bytes, the newest; None for no bound."""

    days: float | None = None
    num_bytes: int | None = None


@dataclass
class _Judged:
    """Feedback on its way."""

    id: str
    feedback: Feedback
    key: str
    found: Future[bool]


class StoreWriter:
    """Writes into a store; for any number of threads.

    Args:
        store: closing it is up to its owner.
        retention: seen to at the start, and every few seconds.
        count: told of trajectories by what became of them: `kept`, `dropped` (the queue was full) or `failed`.
        longest_queue: trajectories and feedback that may wait.
    """

    def __init__(
        self,
        store: TrajectoryStore,
        *,
        retention: Retention = Retention(),
        count: Callable[[str, int], None] = lambda outcome, number: None,
        longest_queue: int = _LONGEST_QUEUE,
    ) -> None:
        self.store, self._retention, self._count = store, retention, count
        self._queue: queue.Queue[KeptTrajectory | _Judged | None] = queue.Queue(longest_queue)
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="trajectory-store", daemon=True)
        self._thread.start()

    def keep(self, trajectory: KeptTrajectory) -> None:
        """Hand a trajectory over."""
        try:
            self._queue.put_nowait(trajectory)
        except queue.Full:
            self._count("dropped", 1)

    def give_feedback(self, id: str, feedback: Feedback, *, key: str) -> Future[bool]:
        """Hand feedback over; whether there is such a trajectory of this key, once it is written.

        The future's exception is `queue.Full`, or SQLAlchemy's if it cannot be written.
        """
        judged = _Judged(id, feedback, key, Future())
        try:
            self._queue.put_nowait(judged)
        except queue.Full as fault:
            judged.found.set_exception(fault)
        return judged.found

    def close(self) -> None:
        """Do what was handed over, and end. Nothing may be handed over afterwards."""
        self._queue.put(None)
        self._thread.join()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        trimmed = -_TRIM_EVERY_S
        while True:
            if time.monotonic() - trimmed >= _TRIM_EVERY_S:
                self._trim()
                trimmed = time.monotonic()
            handed = self._take()
            self._add([one for one in handed if isinstance(one, KeptTrajectory)])
            for one in handed:
                if isinstance(one, _Judged):
                    self._judge(one)
            if None in handed:
                self._trim()
                return

    def _take(self) -> list[KeptTrajectory | _Judged | None]:
        """What waits, as soon as something does; nothing after a while, so that what is too old is trimmed."""
        handed: list[KeptTrajectory | _Judged | None] = []
        with suppress(queue.Empty):
            handed.append(self._queue.get(timeout=_TRIM_EVERY_S))
            while len(handed) < _AT_ONCE:
                handed.append(self._queue.get_nowait())
        return handed

    def _add(self, kept: list[KeptTrajectory]) -> None:
        if not kept:
            return
        try:
            self.store.add(kept)
        except SQLAlchemyError as fault:
            self._failed(fault)
            self._count("failed", len(kept))
        else:
            self._count("kept", len(kept))
            self._worked()

    def _judge(self, judged: _Judged) -> None:
        try:
            judged.found.set_result(self.store.give_feedback(judged.id, judged.feedback, key=judged.key))
        except SQLAlchemyError as fault:
            self._failed(fault)
            judged.found.set_exception(fault)

    def _trim(self) -> None:
        days = self._retention.days
        try:
            before = None if days is None else time.time() - days * _DAY_S
            self.store.trim(before=before, most_bytes=self._retention.num_bytes)
        except SQLAlchemyError as fault:
            self._failed(fault)

    def _failed(self, fault: SQLAlchemyError) -> None:
        """Told once, until it works again: a full disk would fill the log as well."""
        if not self._is_failing:
            logger.error("trajectories cannot be written to %s: %s", self.store.file, _told(fault))
        self._is_failing = True

    def _worked(self) -> None:
        if self._is_failing:
            logger.warning("trajectories are written to %s again", self.store.file)
        self._is_failing = False


def _told(fault: SQLAlchemyError) -> str:
    """Without the statement and its values, which are texts of users."""
    return str(getattr(fault, "orig", None) or type(fault).__name__)
