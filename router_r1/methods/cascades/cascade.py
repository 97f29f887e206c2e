"""Cascades: methods that may ask several candidates the same question, and take one of the replies.

A cascade is fitted on what candidates said to training questions, then made ready for a cost weight, and then decides
question by question: it asks through a `Dispatcher`, so that the same code runs against endpoints and against recorded
replies. Every reply that it asked for is paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np

from router_r1.errors import ConfigError
from router_r1.methods.encoders import Encoder
from router_r1.methods.method import trajectory_of
from router_r1.protocol import Route, Trajectory
from router_r1.recorded.conclusion import conclusion_of
from router_r1.recorded.replies import RecordedQuestion, RecordedReplies
from router_r1.rollout.policy import Dispatcher
from router_r1.scores import cheapness, utility


@dataclass(frozen=True)
class Decision:
    """What a cascade did with one question."""

    routes: tuple[Route, ...]
    """In the order in which they were asked, failed ones included."""
    taken: int | None
    """The number of the route whose reply it took; None if there is none."""
    text: str | None = None
    """What it says instead of that reply, if it wrote something of its own."""

    @property
    def reply(self) -> str | None:
        if self.text is not None:
            return self.text
        return None if self.taken is None else self.routes[self.taken].reply

    def as_route(self) -> Route:
        """All of it as one route of the candidate that it took, with what all that were asked took and cost."""
        paid = {
            name: sum(getattr(route, name) for route in self.routes)
            for name in ("prompt_tokens", "completion_tokens", "raw_cost", "spend_usd", "latency_s", "attempts")
        }
        taken = self.routes[-1 if self.taken is None else self.taken]
        estimated = any(route.usage_estimated for route in self.routes)
        cached = all(route.cached for route in self.routes)
        return replace(taken, **paid, reply=self.reply or "", usage_estimated=estimated, cached=cached)


class ReadyCascade(Protocol):
    """A cascade at one cost weight."""

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        """Ask whom it takes, and choose among the replies.

        Args:
            question: as it is asked.
            routes: asks the candidates.
            request_id: names the trajectory; goes with every route.
        """
        ...


class Cascade(Protocol):
    """What is fitted once and gives a cascade at every cost weight."""

    def check(self, train: RecordedReplies) -> None:
        """See that there is what it is fitted on.

        Raises:
            ConfigError: it must read replies, or several samples of them, and there are none.
        """
        ...

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        """Learn; the same replies, encoder and seed give the same cascade.

        Raises:
            ConfigError: as `check`.
        """
        ...

    def at(self, alpha: float) -> ReadyCascade:
        """The cascade at the cost weight alpha, in [0, 1]; its thresholds are those that were best in training."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that was learned, without pickle."""
        ...

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self: ...


@dataclass(frozen=True)
class CascadeEntry:
    """A cascade as the table of methods knows it."""

    title: str
    make: Callable[[], Cascade]
    """Imports what it needs when it is called."""
    source: str
    """Paper or repository, for documentation."""
    needs: tuple[str, ...] = ()
    """Modules that must be there."""
    reads_replies: bool = True
    """It cannot run where only scores are known."""


def check_replies(train: RecordedReplies, title: str, *, samples: int = 1, of: str | None = None) -> None:
    """See that there is what a cascade reads.

    Args:
        samples: it needs of each question, of the candidate `of`, or else of all.

    Raises:
        ConfigError: there is not.
    """
    if not train.has_replies:
        remedy = f"is nowhere: only scores are known, and {title} reads replies; leave it out"
        raise ConfigError(train.source, "reply", None, remedy)
    for name in train.candidates if of is None else (of,):
        if train.num_samples[name] < samples:
            remedy = f"has {train.num_samples[name]} sample(s) of a question, and {title} compares {samples}"
            raise ConfigError(
                train.source, "candidate", name, f"{remedy}; collect more (scores collect), or leave it out"
            )


# ---------------------------------------------------------------- as a method


class CascadeMethod:
    """A cascade as a method (`methods.method.Method`): its answer is read from the reply that it took.

    Args:
        read: reply -> answer. The default takes the number that a reply comes to, or else all of it.
    """

    def __init__(self, cascade: ReadyCascade, routes: Dispatcher, read: Callable[[str], str] | None = None) -> None:
        self._cascade, self._routes, self._read = cascade, routes, read or _answer_in

    async def answer(self, question: str, *, request_id: str) -> Trajectory:
        decision = await self._cascade.decide(question, self._routes, request_id=request_id)
        reply = decision.reply
        return trajectory_of(decision.routes, None if reply is None else self._read(reply))


def _answer_in(reply: str) -> str:
    return conclusion_of(reply) or reply.strip()


class CascadeRoutes:
    """A cascade as a candidate that asks others: a dispatcher of which every route is a whole decision."""

    def __init__(self, cascade: ReadyCascade, routes: Dispatcher) -> None:
        self._cascade, self._routes = cascade, routes

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        """Whichever candidate is named: the cascade chooses."""
        return (await self._cascade.decide(query, self._routes, request_id=trajectory_id)).as_route()


# ---------------------------------------------------------------- on recorded replies


@dataclass(frozen=True, eq=False)
class Played:
    """What a cascade did with recorded questions."""

    taken: np.ndarray
    """The column of the candidate whose reply it took; -1 for none. [num_questions]"""
    score: np.ndarray
    """What was recorded of that reply; 0 for none. [num_questions]"""
    raw_cost: np.ndarray
    """Of all that it asked, micro-USD of output. [num_questions]"""
    spend_usd: np.ndarray
    asked: np.ndarray
    """Columns of the candidates in the order in which they were asked, then -1. [num_questions, most_routes]"""

    @property
    def num_routes(self) -> np.ndarray:
        """[num_questions]"""
        return np.asarray((self.asked >= 0).sum(axis=1))


async def play(cascade: ReadyCascade, recorded: RecordedReplies, routes: Dispatcher) -> Played:
    """Have a cascade decide every question of what was recorded, one after another.

    Args:
        routes: `RecordedRoutes` of the same replies.

    Raises:
        ValueError: it took what nobody said: a text that it fused has no recorded score.
    """
    column_of = {name: column for column, name in enumerate(recorded.candidates)}
    decisions = [await cascade.decide(q.text, routes, request_id=q.id) for q in recorded.questions]
    asked = [[column_of[route.candidate] for route in d.routes] for d in decisions]
    most = max(len(row) for row in asked)
    taken = np.array([-1 if d.taken is None else column_of[d.routes[d.taken].candidate] for d in decisions])
    return Played(
        taken,
        score=np.array([_score(d, q) for d, q in zip(decisions, recorded.questions, strict=True)]),
        raw_cost=np.array([sum(route.raw_cost for route in d.routes) for d in decisions]),
        spend_usd=np.array([sum(route.spend_usd for route in d.routes) for d in decisions]),
        asked=np.array([row + [-1] * (most - len(row)) for row in asked]),
    )


def _score(decision: Decision, question: RecordedQuestion) -> float:
    if decision.taken is None:
        return 0.0
    if decision.text is not None:
        raise ValueError("a fused reply has no recorded score")
    route = decision.routes[decision.taken]
    return next(said.score for said in question.samples[route.candidate] if said.text == route.reply)


# ---------------------------------------------------------------- what their fits share

Setting = TypeVar("Setting")


def best_setting(
    settings: Sequence[Setting],
    outcome: Callable[[Setting], tuple[np.ndarray, np.ndarray]],
    alpha: float,
    full: float,
) -> Setting:
    """The setting with the highest mean utility at alpha; among equals the first.

    Args:
        outcome: setting -> score and raw cost of each training question.
        full: the raw cost at which cheapness is 0.
    """

    def worth(setting: Setting) -> float:
        score, raw_cost = outcome(setting)
        return float(utility(score, cheapness(raw_cost, full), alpha).mean())

    values = [worth(setting) for setting in settings]
    return settings[int(np.argmax(values))]


def in_order_of_price(train: RecordedReplies) -> list[int]:
    """The candidates' columns, the cheapest in training first."""
    costs = train.table().raw_cost.mean(axis=0)
    return [int(column) for column in np.argsort(costs, kind="stable")]
