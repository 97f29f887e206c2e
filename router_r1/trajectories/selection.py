"""Which trajectories, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, literal, or_, select, true, tuple_

from router_r1.trajectories.tables import asked, trajectories

SORTS = ("time", "raw_cost", "spend_usd", "seconds", "policy_tokens", "em", "f1", "reward", "feedback_score")
"""What they can be sorted by."""

_EQUAL = ("source", "data_source", "status", "model", "arm", "key", "user")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Every condition that is given must hold; None for whatever does not matter."""

    source: str | None = None
    data_source: str | None = None
    status: str | None = None
    model: str | None = None
    arm: str | None = None
    key: str | None = None
    user: str | None = None
    """A pseudonym (`TrajectoryStore.pseudonym`)."""
    candidate: str | None = None
    """It was asked."""
    is_right: bool | None = None
    """EM is 1; those whose golden answers are not known are neither right nor wrong."""
    has_format_error: bool | None = None
    least_raw_cost: float | None = None
    most_raw_cost: float | None = None
    since: float | None = None
    """Unix time in seconds."""
    until: float | None = None
    feedback: Literal["any", "up", "down", "none"] | None = None
    """up: a score of at least 0.5."""
    text: str | None = None
    """Stands in the question, the answer or the id, whatever the case of its ASCII letters."""

    def clause(self) -> ColumnElement[bool]:
        """As SQL; every value is bound, none is part of the text."""
        t = trajectories.c
        found: list[ColumnElement[bool]] = []
        for name in _EQUAL:
            if (value := getattr(self, name)) is not None:
                found.append(t[name] == value)
        if self.candidate is not None:
            found.append(t.number.in_(select(asked.c.number).where(asked.c.candidate == self.candidate)))
        if self.is_right is not None:
            found.append(t.em == 1.0 if self.is_right else t.em < 1.0)
        if self.has_format_error is not None:
            found.append(t.format_error != "" if self.has_format_error else t.format_error == "")
        for column, least, most in (
            (t.raw_cost, self.least_raw_cost, self.most_raw_cost),
            (t.time, self.since, self.until),
        ):
            if least is not None:
                found.append(column >= least)
            if most is not None:
                found.append(column <= most)
        if self.feedback is not None:
            found.append(_FEEDBACK[self.feedback])
        if self.text:
            # Not LIKE, whose pattern would end at a NUL and match everything.
            sought = func.lower(self.text)
            found.append(or_(*(func.instr(func.lower(column), sought) > 0 for column in (t.question, t.answer, t.id))))
        return and_(true(), *found)


_FEEDBACK: dict[str, ColumnElement[bool]] = {
    "any": trajectories.c.feedback_score.is_not(None),
    "none": trajectories.c.feedback_score.is_(None),
    "up": trajectories.c.feedback_score >= 0.5,
    "down": trajectories.c.feedback_score < 0.5,
}


@dataclass(frozen=True)
class Sort:
    """An order; what is equal in it is as it came. Trajectories of which the value is not known are the smallest."""

    by: str = "time"
    """One of `SORTS`."""
    descending: bool = True

    def __post_init__(self) -> None:
        if self.by not in SORTS:
            raise ValueError(f"trajectories cannot be sorted by {self.by!r}; by {', '.join(SORTS)}")

    @property
    def reversed(self) -> Sort:
        """The other way round."""
        return Sort(self.by, not self.descending)

    def columns(self) -> list[ColumnElement[Any]]:
        """What to order by."""
        columns = (trajectories.c[self.by], trajectories.c.number)
        return [column.desc() if self.descending else column.asc() for column in columns]

    def place(self) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """Where a trajectory stands, as values that compare as they are ordered: SQLite takes NULL for the smallest."""
        return func.ifnull(trajectories.c[self.by], -math.inf), trajectories.c.number

    def follows(self, place: Sequence[Any]) -> ColumnElement[bool]:
        """What stands behind that place."""
        own, other = tuple_(*self.place()), tuple_(*map(literal, place))
        return own < other if self.descending else own > other
