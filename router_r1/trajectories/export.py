"""Kept trajectories as the records of a benchmark, one JSON object a line.

A record has `id`, `question` and `golden_answers`, so that a file of them is a data set in FlashRAG's layout as well:
as `ROOT/<name>/train.jsonl` it is what `router-r1 data train --data-root ROOT --data-sources <name>` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from router_r1.benchmark.records import TrajectoryRecord
from router_r1.trajectories.kept import KeptTrajectory


class ExportedRecord(TrajectoryRecord):
    """The fields of `benchmark.records.Record`, with None for what is not known, and those that only a store has."""

    data_source: str
    cost_weight: float | None
    id: str
    index: int
    sample: int
    question: str | None
    golden_answers: list[str]
    em: float | None
    f1: float | None
    format_error: str | None
    latency_s: float | None
    time: float
    source: str
    model: str
    arm: str
    key: str
    user: str
    rewards: dict[str, float]
    feedback: dict[str, Any] | None


def exported(kept: Iterable[KeptTrajectory]) -> Iterator[ExportedRecord]:
    """The record of each."""
    for index, one in enumerate(kept):
        routes = one.routes
        yield {
            "data_source": one.data_source or one.source,
            "cost_weight": one.cost_weight,
            "id": one.id,
            "index": index,
            "sample": 0,
            "question": one.question,
            "golden_answers": list(one.golden_answers),
            "em": one.em,
            "f1": one.f1,
            "format_error": one.format_error,
            "latency_s": one.seconds,
            "answer": one.answer,
            "status": one.status or "",
            "routes": len(routes),
            "failed_routes": sum(bool(route.get("failed")) for route in routes),
            "raw_cost": one.raw_cost or 0.0,
            "spend_usd": one.spend_usd or 0.0,
            "policy_tokens": one.policy_tokens or 0,
            "turns": list(one.turns),
            "time": one.time,
            "source": one.source,
            "model": one.model,
            "arm": one.arm,
            "key": one.key,
            "user": one.user,
            "rewards": dict(one.rewards),
            "feedback": asdict(one.feedback) if one.feedback else None,
        }


def with_golden_answers(records: Iterable[ExportedRecord], *, least_score: float | None) -> Iterator[ExportedRecord]:
    """Those that can be learned from: with a golden answer or, if that is asked for, an answer that somebody liked,
    which takes its place.

    Args:
        least_score: of the feedback on an answer that may serve as a golden one; None: none may.
    """
    for record in records:
        feedback, answer = record["feedback"], record["answer"]
        is_liked = least_score is not None and feedback is not None and feedback["score"] >= least_score
        if not record["question"]:
            continue
        if not record["golden_answers"] and is_liked and answer:
            record["golden_answers"] = [answer]
        if record["golden_answers"]:
            yield record
