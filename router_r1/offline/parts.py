"""What every method of an offline benchmark is given and gives: a part of the questions, and what it does with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from router_r1.recorded import RecordedReplies
from router_r1.scores import ScoreTable, split

NOBODY = -1
"""In the place of a candidate's column: no further route."""


@dataclass(frozen=True, eq=False)
class Part:
    """The questions of one seed, parted."""

    seed: int
    train: ScoreTable
    test: ScoreTable
    numbers: np.ndarray
    """Of the test questions in the whole table, the same for every seed. [num_test]"""
    train_replies: RecordedReplies | None = None
    """What was said to the questions of `train`, in its order; None where no cascade is to run."""
    test_replies: RecordedReplies | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """What a method does at one cost weight: a router asks one candidate, a cascade may ask several; all are paid."""

    alpha: float | None
    """None for a method that has none."""
    score: np.ndarray
    """Of the reply that it takes; 0 for none. [num_test]"""
    raw_cost: np.ndarray
    """Of all that it asks, micro-USD of output. [num_test]"""
    spend_usd: np.ndarray
    """The same in USD, of prompt and output."""
    asked: np.ndarray
    """Columns of the candidates in the order in which they are asked, then `NOBODY`. [num_test, most_routes]"""

    @classmethod
    def of_one(cls, alpha: float | None, test: ScoreTable, asked: np.ndarray) -> Self:
        """One candidate is asked each question.

        Args:
            asked: its column. [num_test]
        """
        score, raw_cost, spend = (of_asked(cells, asked) for cells in (test.score, test.raw_cost, test.spend_usd))
        return cls(alpha, score, raw_cost, spend, asked[:, None])

    @property
    def first(self) -> np.ndarray:
        """The column of the candidate that is asked first. [num_test]"""
        return np.asarray(self.asked[:, 0])

    def as_json(self) -> dict[str, Any]:
        return {"alpha": self.alpha, **{name: getattr(self, name).tolist() for name in _ARRAYS}}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        """What `as_json` gave."""
        return cls(kept["alpha"], *(np.array(kept[name]) for name in _ARRAYS))


_ARRAYS = ("score", "raw_cost", "spend_usd", "asked")


def of_asked(values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """What each question's candidate has.

    Args:
        values: [num_questions, num_candidates]
        asked: the column of the candidate. [num_questions]
    """
    return np.asarray(values[np.arange(len(asked)), asked])


def part(
    table: ScoreTable,
    seed: int,
    *,
    test_share: float,
    shuffle_labels: bool = False,
    replies: RecordedReplies | None = None,
) -> Part:
    """Training and test questions of a seed.

    Args:
        shuffle_labels: give each training question the scores of another one, drawn by lot. What a question says of its
            scores is lost then, and how good each candidate is is kept: whoever is still better than the best constant
            has seen what it must not see.
        replies: what was said to the questions of the table.

    Raises:
        ConfigError: as `split`.
    """
    train, test = split(table, test_share=test_share, seed=seed)
    train_replies, test_replies = (replies.with_ids(own) if replies else None for own in (train, test))
    if shuffle_labels:
        others = np.random.default_rng(seed).permutation(len(train))
        train = replace(train, score=train.score[others])
        train_replies = train_replies.with_scores_of(others.tolist()) if train_replies else None
    number_of = {question.id: number for number, question in enumerate(table.questions)}
    numbers = np.array([number_of[question.id] for question in test.questions])
    return Part(seed, train, test, numbers, train_replies, test_replies)
