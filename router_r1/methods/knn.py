"""k nearest neighbours: a candidate is expected to score what it scored on the most similar training questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.cross_validation import Gain, best_setting, score_of_chosen
from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

NUMBERS_OF_NEIGHBOURS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
"""What CARROT (arXiv:2502.03261) tries."""


class NearestNeighbours(FittedRouter):
    """The mean score of the k training questions with the greatest cosine.

    Args:
        k: how many neighbours; None chooses it by cross-validation.
    """

    FACTS, ARRAYS = ("k",), ("vectors", "score")
    vectors: np.ndarray  # [num_training_questions, num_features]
    score: np.ndarray  # [num_training_questions, num_candidates]

    def __init__(self, k: int | None = 5) -> None:
        self.k = k

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.vectors, self.score = self.encoder.encode(train.texts), train.score
        if self.k is None:
            self.k = chosen_k(self.vectors, self.score, seed=seed)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        assert self.k is not None  # set by fit
        return neighbour_means(self.encoder.encode(questions), self.vectors, self.score, (self.k,))[0]


def chosen_k(vectors: np.ndarray, target: np.ndarray, *, gain: Gain = score_of_chosen, seed: int) -> int:
    """The number of neighbours that is best in cross-validation."""

    def predicted(fitted_on: np.ndarray, held_out: np.ndarray) -> list[np.ndarray]:
        return neighbour_means(vectors[held_out], vectors[fitted_on], target[fitted_on], NUMBERS_OF_NEIGHBOURS)

    return best_setting(NUMBERS_OF_NEIGHBOURS, predicted, target, gain=gain, seed=seed)


def neighbour_means(
    vectors: np.ndarray, training_vectors: np.ndarray, target: np.ndarray, ks: Sequence[int]
) -> list[np.ndarray]:
    """For each k the mean target of the k nearest training questions; of all of them where there are fewer than k.

    Args:
        vectors: of length 1. [num_questions, num_features]
        training_vectors: of length 1. [num_training_questions, num_features]
        target: [num_training_questions, num_targets]

    Returns:
        An array for each k. [num_questions, num_targets]
    """
    nearest = np.argsort(-(vectors @ training_vectors.T), axis=1, kind="stable")[:, : max(ks)]
    sums = np.cumsum(target[nearest], axis=1)  # [num_questions, max(ks), num_targets]
    counts = [min(k, sums.shape[1]) for k in ks]
    return [np.asarray(sums[:, count - 1] / count) for count in counts]
