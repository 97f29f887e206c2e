"""Similarity-weighted ranking (RouteLLM, arXiv:2406.18665, section 4): a Bradley-Terry model of the candidates, fitted
anew for every question on battles that count more the more similar their question is.

A battle is a training question and a pair of candidates: the higher score wins, equal scores are half a victory each.
Battle i weighs 10 * 10^(s_i / max s), with s the cosine of its question to the one asked. With full scores every pair
meets on every question, so what a fit needs of the battles is one matrix of weighted victories, and the ratings of all
questions asked are found by Newton's method at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

BATCH = 256
"""Questions whose weights are held in memory at once."""
MAX_STEPS, TOLERANCE = 50, 1e-8
PRIOR = 1e-3
"""Victories, as a share of all, that each candidate has over each other beforehand: keeps the ratings of one that never
wins, or never loses, finite."""


class SimilarityRanking(FittedRouter):
    """Quality is the mean probability of winning against the others: of two candidates RouteLLM's win rate itself.

    RouteLLM first parts the 64 models of its battles into 10 tiers, since most pairs met rarely; here every pair met on
    every training question, and the candidates stand for themselves.
    """

    ARRAYS = ("vectors", "victories")
    vectors: np.ndarray  # [num_training_questions, num_features]
    victories: np.ndarray  # 1, 1/2 or 0 of each over each other. [num_training_questions, num_candidates ** 2]

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.vectors = self.encoder.encode(train.texts)
        difference = train.score[:, :, None] - train.score[:, None, :]
        self.victories = ((np.sign(difference) + 1) / 2).reshape(len(train), -1).astype(np.float32)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        num_candidates = round(self.victories.shape[1] ** 0.5)
        found = [np.empty((0, num_candidates))]
        for start in range(0, len(questions), BATCH):
            weights = battle_weights(self.encoder.encode(questions[start : start + BATCH]) @ self.vectors.T)
            victories = (weights @ self.victories).reshape(-1, num_candidates, num_candidates)
            found.append(mean_win_rates(ratings(victories)))
        return np.concatenate(found)


def battle_weights(similarity: np.ndarray) -> np.ndarray:
    """10 * 10^(similarity / greatest similarity).

    A question that is like none in training has no greatest similarity above 0; then all battles weigh the same.

    Args:
        similarity: [num_questions, num_training_questions]
    """
    greatest = similarity.max(axis=1, keepdims=True)
    relative = np.divide(similarity, greatest, out=np.zeros_like(similarity), where=greatest > 1e-6)
    return np.asarray(10 * 10 ** np.clip(relative, -1, 1))


def ratings(victories: np.ndarray) -> np.ndarray:
    """Maximum likelihood ratings, in natural logarithms of odds, with a mean of 0 (Bradley and Terry, 1952).

    Args:
        victories: weighted victories of the row's candidate over the column's. [..., num_candidates, num_candidates]

    Returns:
        [..., num_candidates]
    """
    num_candidates = victories.shape[-1]
    others = 1 - np.eye(num_candidates)
    won = victories * others
    won = won / won.sum(axis=(-2, -1), keepdims=True) + PRIOR * others
    met = won + np.swapaxes(won, -2, -1)
    rating = np.zeros(victories.shape[:-1])
    for _ in range(MAX_STEPS):
        expected = _win_probabilities(rating)
        gradient = (won - met * expected).sum(axis=-1)
        curvature = met * expected * (1 - expected) * others
        # The likelihood does not change when all ratings do: the ones pin down their mean.
        hessian = curvature.sum(axis=-1)[..., None] * np.eye(num_candidates) - curvature + 1 / num_candidates
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        rating = rating + np.clip(step, -2, 2)  # a full step from far away may overshoot
        if np.abs(step).max(initial=0.0) < TOLERANCE:
            break
    return np.asarray(rating - rating.mean(axis=-1, keepdims=True))


def mean_win_rates(rating: np.ndarray) -> np.ndarray:
    """The mean probability that a candidate beats another one. [..., num_candidates], like the ratings"""
    num_candidates = rating.shape[-1]
    probabilities = _win_probabilities(rating) * (1 - np.eye(num_candidates))
    return np.asarray(probabilities.sum(axis=-1) / (num_candidates - 1))


def _win_probabilities(rating: np.ndarray) -> np.ndarray:
    """[..., num_candidates, num_candidates], of the row's candidate over the column's."""
    return np.asarray(1 / (1 + np.exp(rating[..., None, :] - rating[..., :, None])))
