"""A trajectory as JSON types: what `infer_vllm.py --json` prints, and a benchmark keeps, one a line.

The lines are all that results, report and resume need: a finished trajectory survives whatever happens afterwards.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict

from router_r1.benchmark.questions import PromptedQuestion
from router_r1.errors import ConfigError
from router_r1.protocol import Action, Answer, InvalidSearch, NoAction, Search, Trajectory, Turn
from router_r1.rewards.rubric import Reward

_ACTIONS = {Search: "search", InvalidSearch: "invalid_search", Answer: "answer", NoAction: "none"}

Key = tuple[str, int, int]
"""Data source, index of the question, number of the sample."""


class TurnRecord(TypedDict):
    """One turn, and what answered it."""

    text: str
    action: str  # search, invalid_search, answer, none
    invalid_reason: str
    route: dict[str, Any] | None  # the fields of `protocol.Route`
    observation: str


class TrajectoryRecord(TypedDict):
    """Answer, status, totals and turns; text only, no token ids."""

    answer: str | None
    status: str
    routes: int
    failed_routes: int
    raw_cost: float  # micro-USD of output
    spend_usd: float
    policy_tokens: int
    turns: list[TurnRecord]


class Record(TrajectoryRecord):
    """One finished trajectory of a benchmark."""

    data_source: str
    kind: NotRequired[str]  # of the question; a benchmark that an earlier version began lacks it
    cost_weight: NotRequired[float | None]  # as the prompt tells it; None if that is not known
    id: str
    index: int
    sample: int
    question: str
    candidates: NotRequired[list[dict[str, str | None]] | None]  # `Deal.as_rows`; None: the whole pool was offered
    golden_answers: list[str]
    em: float
    f1: float
    format_error: str  # the broken rule; "" if the format is valid, or if there is no policy that had to keep to it
    latency_s: float  # from its first request to its end, with all others in flight


def trajectory_record(trajectory: Trajectory) -> TrajectoryRecord:
    return {
        "answer": trajectory.answer,
        "status": trajectory.status.value,
        "routes": len(trajectory.routes),
        "failed_routes": trajectory.failed_routes,
        "raw_cost": trajectory.raw_cost,
        "spend_usd": trajectory.spend_usd,
        "policy_tokens": sum(trajectory.response_mask),
        "turns": [_turn_record(turn) for turn in trajectory.turns],
    }


def action_name(action: Action) -> str:
    """What a record calls it."""
    return _ACTIONS[type(action)]


def _turn_record(turn: Turn) -> TurnRecord:
    return {
        "text": turn.text,
        "action": action_name(turn.action),
        "invalid_reason": turn.invalid_reason,
        "route": asdict(turn.route) if turn.route else None,
        "observation": turn.observation,
    }


def benchmark_record(
    question: PromptedQuestion, sample: int, trajectory: Trajectory, reward: Reward, latency_s: float
) -> Record:
    return {
        "data_source": question.data_source,
        "kind": question.kind,
        "cost_weight": question.cost_weight,
        "id": question.question.id,
        "index": question.index,
        "sample": sample,
        "question": question.question.text,
        "candidates": question.deal.as_rows() if question.deal else None,
        "golden_answers": list(question.question.golden_answers),
        "em": reward.em,
        "f1": reward.f1,
        "format_error": reward.format_error if any(trajectory.response_mask) else "",
        "latency_s": latency_s,
        **trajectory_record(trajectory),
    }


def key_of(record: Record) -> Key:
    return record["data_source"], record["index"], record["sample"]


# ---------------------------------------------------------------- the file of a benchmark


def append(sink: IO[str], record: Record) -> None:
    """Write one record; it is with the operating system when this returns."""
    sink.write(json.dumps(record, ensure_ascii=False) + "\n")
    sink.flush()


def read_records(path: Path) -> list[Record]:
    """All whole records of a file; none if there is no file.

    Raises:
        ConfigError: a line other than the last is no record.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # behind the last newline stands nothing, or what a crash left
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as fault:
            raise ConfigError(f"{path}:{number}", "", None, f"is no record of a trajectory: {fault}") from None
    return records
