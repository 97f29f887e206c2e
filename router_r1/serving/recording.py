"""What the server answers, kept in a store; and what people say of it.

A trajectory is kept when it has ended and its client is told: neither what a client left, nor what a fault ended. No
request waits for the store, and none fails with it.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from router_r1.benchmark.records import trajectory_record
from router_r1.serving.answering import Outcome, Prepared
from router_r1.serving.api_errors import ApiError, refused
from router_r1.serving.chat_request import fault_in_words, json_object
from router_r1.serving.options import ServingOptions
from router_r1.trajectories import Feedback, KeptTrajectory, TrajectoryStore
from router_r1.trajectories.kept import routes_to
from router_r1.trajectories.writer import Retention, StoreWriter

SOURCE = "server"
_MOST_MB, _MOST_MB_IN_MEMORY = 1000, 20
_BUSY_RETRY_S = 5.0


def open_store(options: ServingOptions) -> TrajectoryStore:
    """The store that the options name; in memory, if they name none.

    Raises:
        ConfigError: its file cannot be used.
    """
    return TrajectoryStore(options.store, keep_texts=options.keep_texts)


def retention_of(options: ServingOptions) -> Retention:
    """How much of it is kept."""
    default = _MOST_MB if options.store else _MOST_MB_IN_MEMORY
    return Retention(options.keep_days, int((options.keep_mb or default) * 1e6))


class Recording:
    """Keeps trajectories, and feedback on them.

    Args:
        store: where; closing it is up to its owner.
        count: see `StoreWriter`.
    """

    def __init__(self, store: TrajectoryStore, retention: Retention, count: Callable[[str, int], None]) -> None:
        self.store = store
        self._writer = StoreWriter(store, retention=retention, count=count)

    def keep(self, asked: Prepared, outcome: Outcome) -> None:
        """A request was answered."""
        record = trajectory_record(outcome.trajectory)
        self._writer.keep(
            KeptTrajectory(
                id=asked.id,
                time=time.time(),
                source=SOURCE,
                question=asked.question,
                answer=record["answer"],
                status=record["status"],
                format_error=outcome.format_error,
                model=asked.model.name,
                cost_weight=asked.model.cost_weight,
                arm=asked.model.arm,
                key=asked.key,
                user=self.store.pseudonym(asked.user),
                raw_cost=outcome.raw_cost,
                spend_usd=outcome.spend_usd,
                seconds=outcome.seconds,
                policy_tokens=record["policy_tokens"],
                candidates=routes_to(record["turns"]),
                turns=record["turns"],
            )
        )

    async def judge(self, given: FeedbackRequest, key: str) -> None:
        """Put feedback beside its trajectory.

        Raises:
            ApiError: 400, it has a comment and no texts are kept; 404, the key has asked for no such trajectory; 503,
                it cannot be written.
        """
        if given.comment and not self.store.keep_texts:
            raise refused("comment", "this server keeps no texts: leave the comment out")
        feedback = Feedback(given.as_score, given.comment, time.time())
        written = self._writer.give_feedback(given.trajectory_id, feedback, key=key)
        try:
            found = await asyncio.wrap_future(written)
        except (queue.Full, SQLAlchemyError):
            message = "feedback cannot be written now: try again later"
            status = HTTPStatus.SERVICE_UNAVAILABLE
            raise ApiError(status, message, code="store_failed", retry_after_s=_BUSY_RETRY_S) from None
        if not found:
            message = "there is no trajectory of that id among those that this key asked for and the server keeps"
            raise ApiError(HTTPStatus.NOT_FOUND, message, code="trajectory_not_found", param="trajectory_id")

    def close(self) -> None:
        """Write what is still to be written; nothing is kept afterwards."""
        self._writer.close()


class FeedbackRequest(BaseModel):
    """The body of a request with feedback; thumbs or a score."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    trajectory_id: Annotated[str, Field(min_length=1, max_length=100)]
    thumbs: Literal["up", "down"] | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    """1 is best."""
    comment: Annotated[str, Field(max_length=2000)] = ""

    @property
    def as_score(self) -> float:
        return self.score if self.score is not None else float(self.thumbs == "up")


def read_feedback(body: bytes) -> FeedbackRequest:
    """The feedback that a body holds.

    Raises:
        ApiError: 400; it is no JSON object in UTF-8, or something in it is wrong.
    """
    try:
        found = FeedbackRequest.model_validate(json_object(body))
    except ValidationError as fault:
        raise fault_in_words(fault) from None
    if (found.thumbs is None) == (found.score is None):
        raise refused("score", "give either thumbs (up, down) or a score from 0 to 1")
    return found
