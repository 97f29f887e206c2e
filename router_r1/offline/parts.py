"""What every method of an offline benchmark is given and gives: a part of the questions, and whom it asks each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from router_r1.scores import ScoreTable, split


@dataclass(frozen=True, eq=False)
class Part:
    """The questions of one seed, parted."""

    seed: int
    train: ScoreTable
    test: ScoreTable
    numbers: np.ndarray
    """Of the test questions in the whole table, the same for every seed. [num_test]"""


@dataclass(frozen=True, eq=False)
class Choice:
    """Whom a method asks at one cost weight."""

    alpha: float | None
    """None for a method that has none."""
    asked: np.ndarray
    """The candidate's column for each test question. [num_test]"""


def part(table: ScoreTable, seed: int, *, test_share: float, shuffle_labels: bool = False) -> Part:
    """Training and test questions of a seed.

    Args:
        shuffle_labels: give each training question the scores of another one, drawn by lot. What a question says of its
            scores is lost then, and how good each candidate is is kept: whoever is still better than the best constant
            has seen what it must not see.

    Raises:
        ConfigError: as `split`.
    """
    train, test = split(table, test_share=test_share, seed=seed)
    if shuffle_labels:
        train = replace(train, score=train.score[np.random.default_rng(seed).permutation(len(train))])
    number_of = {question.id: number for number, question in enumerate(table.questions)}
    return Part(seed, train, test, np.array([number_of[question.id] for question in test.questions]))
