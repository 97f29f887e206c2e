"""What is kept of a trajectory, wherever it comes from.

None means that something is not known: a server has no golden answers, a training step writes no costs down. A store
that keeps no texts has None for question and answer, and "" wherever policy, candidate or user wrote something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from router_r1.benchmark.records import TurnRecord

_TEXTS_OF_A_ROUTE = ("query", "reply", "error")  # an endpoint's error may repeat what it was asked


@dataclass(frozen=True)
class Feedback:
    """What whoever asked thinks of an answer."""

    score: float
    """In [0, 1]; thumbs up are 1, thumbs down are 0."""
    comment: str = ""
    time: float = 0.0
    """Unix time in seconds."""


@dataclass(frozen=True)
class Segment:
    """A piece of the text after the prompt."""

    author: Literal["policy", "environment"]
    """The environment's tokens are masked out of every loss."""
    text: str


@dataclass(frozen=True, kw_only=True)
class TrajectoryFacts:
    """A trajectory without its turns: a row of a list."""

    id: str
    """Unique in its store."""
    time: float
    """When it ended, Unix time in seconds; of a file's trajectories, when the file was written."""
    source: str
    """`server`, or the file that it was read from."""
    data_source: str = ""
    """The data set of the question; "" if it is of none that is known."""
    question: str | None = None
    answer: str | None = None
    """None, too, if there is none."""
    golden_answers: Sequence[str] = ()
    em: float | None = None
    f1: float | None = None
    status: str | None = None
    """A value of `protocol.Status`."""
    format_error: str | None = None
    """The broken rule; "" if none is broken, or if no policy had to keep to one."""
    model: str = ""
    """The method that answered, as `serve` and `bench --methods` name it."""
    cost_weight: float | None = None
    arm: str = ""
    """The arm of a split that the request fell to."""
    key: str = ""
    """The name of the API key that asked."""
    user: str = ""
    """A pseudonym of the request's `user`."""
    raw_cost: float | None = None
    """Micro-USD of output."""
    spend_usd: float | None = None
    seconds: float | None = None
    policy_tokens: int | None = None
    candidates: Mapping[str, int] = field(default_factory=dict)
    """Candidate -> how many routes went to it; by the pool's own name where that is known, else as it was shown."""
    reward: float | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Term of the rubric -> its weighted value."""
    feedback: Feedback | None = None


@dataclass(frozen=True, kw_only=True)
class KeptTrajectory(TrajectoryFacts):
    """A whole trajectory."""

    turns: Sequence[TurnRecord] = ()
    """As a benchmark records them. Of a route that was read from a text, only candidate, query and reply are known."""

    @property
    def routes(self) -> list[dict[str, Any]]:
        """The dispatched searches in order; fields of `protocol.Route`."""
        return [turn["route"] for turn in self.turns if turn["route"] is not None]

    @property
    def segments(self) -> list[Segment]:
        """The text after the prompt, by who wrote it; none where no texts are kept."""
        pieces = [piece for turn in self.turns for piece in _segments_of(turn)]
        return [piece for piece in pieces if piece.text]

    @property
    def facts(self) -> TrajectoryFacts:
        """Without its turns."""
        return TrajectoryFacts(**{one.name: getattr(self, one.name) for one in fields(TrajectoryFacts)})

    def without_texts(self) -> KeptTrajectory:
        """The same, without a word of what user, policy or candidate wrote."""
        feedback = self.feedback and replace(self.feedback, comment="")
        return replace(
            self,
            question=None,
            answer=None,
            golden_answers=(),
            format_error=self.format_error and self.format_error.partition(":")[0],  # behind it, what was written
            turns=[_without_texts(turn) for turn in self.turns],
            feedback=feedback,
        )


def routes_to(turns: Sequence[TurnRecord]) -> dict[str, int]:
    """Candidate -> how many of the turns' routes went to it, the first one first."""
    return dict(Counter(turn["route"]["candidate"] for turn in turns if turn["route"] is not None))


def _segments_of(turn: TurnRecord) -> tuple[Segment, Segment]:
    return Segment("policy", turn["text"]), Segment("environment", turn["observation"])


def _without_texts(turn: TurnRecord) -> TurnRecord:
    route = turn["route"] and {**turn["route"], **dict.fromkeys(_TEXTS_OF_A_ROUTE, "")}
    return {"text": "", "action": turn["action"], "invalid_reason": "", "route": route, "observation": ""}
