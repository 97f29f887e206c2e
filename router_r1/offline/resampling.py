"""How sure a mean over questions is: bootstrap intervals, and paired tests of the difference between two routers.

The questions are drawn anew, not the seeds: a figure is the mean over seeds of a mean over test questions, and a
question that several seeds test stays one question. Two routers are compared on the same draws, question by question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
_AT_ONCE = 100  # resamples in memory
_INTERVAL = (2.5, 97.5)  # percentiles: 95 %
_ROUNDING = 1e-12  # what two sums of the same numbers may differ by


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Of a difference, p is the two-sided level at which the interval would touch 0; a difference of two routers that
    choose alike has p = 1.
    """

    mean: float
    low: float
    high: float
    p: float


def estimates(groups: Sequence[np.ndarray], values: Sequence[np.ndarray], *, seed: int = 0) -> list[Estimate]:
    """The mean over groups of the mean over questions of each column.

    Args:
        groups: for each seed of a benchmark, the numbers of the questions it tests; one number is one question.
        values: for each of them, figures of these questions. [num_questions, num_columns]
        seed: of the draws, which are the same for every call with the same groups.
    """
    found = np.mean([column.mean(axis=0) for column in values], axis=0)
    drawn = _resampled(groups, values, seed)
    low, high = np.percentile(drawn, _INTERVAL, axis=0)
    drawn = np.where(np.abs(drawn) < _ROUNDING, 0.0, drawn)
    fewer = np.minimum((drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (fewer + 1) / (RESAMPLES + 1))
    return [Estimate(*map(float, column)) for column in zip(found, low, high, p, strict=True)]


def _resampled(groups: Sequence[np.ndarray], values: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """[RESAMPLES, num_columns]"""
    questions = np.unique(np.concatenate(groups))
    places = [np.searchsorted(questions, group) for group in groups]
    draw = np.random.default_rng(seed)
    found = []
    for start in range(0, RESAMPLES, _AT_ONCE):
        many = min(_AT_ONCE, RESAMPLES - start)
        picks = draw.integers(0, len(questions), size=(many, len(questions)))
        counts = np.stack([np.bincount(row, minlength=len(questions)) for row in picks]).astype(float)
        means = [
            counts[:, place] @ column / np.maximum(counts[:, place].sum(axis=1, keepdims=True), 1)
            for place, column in zip(places, values, strict=True)
        ]
        found.append(np.mean(means, axis=0))
    return np.concatenate(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, such that one in 20 families of true null hypotheses has any below 0.05.

    Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6:65-70.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda n: p_values[n])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted
