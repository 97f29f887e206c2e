"""Hyper-parameters by cross-validation, on training questions alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Setting = TypeVar("Setting")
Gain = Callable[[np.ndarray, np.ndarray], float]
"""Predicted and true values -> how good that is, summed over the questions."""

NUM_FOLDS = 5


def score_of_chosen(predicted: np.ndarray, score: np.ndarray) -> float:
    """What the candidates score that a router would choose by predicted scores alone, which is what they are for.

    The setting with the least squared error smooths too little: the best predictions of single scores tell candidates
    apart worse than what averages over more questions.
    """
    return float(np.take_along_axis(score, predicted.argmax(axis=1)[:, None], axis=1).sum())


def minus_squared_error(predicted: np.ndarray, target: np.ndarray) -> float:
    return -float(np.square(predicted - target).sum())


def folds(num_questions: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row numbers to fit on and row numbers held out, for each fold; every row is held out once.

    With fewer questions than folds there are as many folds as questions.
    """
    shuffled = np.random.default_rng(seed).permutation(num_questions)
    held_out = [np.sort(part) for part in np.array_split(shuffled, min(NUM_FOLDS, num_questions))]
    return [(np.setdiff1d(shuffled, part), part) for part in held_out]


def best_setting(
    settings: Sequence[Setting],
    predicted: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]],
    target: np.ndarray,
    *,
    gain: Gain,
    seed: int,
) -> Setting:
    """The setting with the greatest gain on held-out questions; among equals the first.

    Args:
        predicted: rows to fit on, rows held out -> what is predicted for the latter, for each setting.
        target: what is to be predicted. [num_questions, num_candidates]
    """
    if len(target) < 2:
        return settings[0]  # nothing to hold out
    gains = np.zeros(len(settings))
    for fitted_on, held_out in folds(len(target), seed):
        for number, prediction in enumerate(predicted(fitted_on, held_out)):
            gains[number] += gain(prediction, target[held_out])
    return settings[int(gains.argmax())]
