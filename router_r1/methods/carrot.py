"""CARROT (arXiv:2502.03261): predicts what a candidate would score and what it would cost, each from the question, and
weighs the one against the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_r1.methods.cross_validation import minus_squared_error
from router_r1.methods.fitted import FittedRouter
from router_r1.methods.knn import chosen_k, neighbour_means
from router_r1.methods.ridge import chosen_penalty, fitted_ridge
from router_r1.scores import ScoreTable, cheapness, full_cost, utility

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge


class CarrotNeighbours(FittedRouter):
    """Both by k nearest neighbours, each with a k of its own chosen by cross-validation."""

    FACTS, ARRAYS = ("score_k", "cost_k", "full"), ("vectors", "score", "raw_cost")
    score_k: int
    cost_k: int
    full: float  # micro-USD of output at which cheapness is 0
    vectors: np.ndarray  # [num_training_questions, num_features]
    score: np.ndarray  # [num_training_questions, num_candidates]
    raw_cost: np.ndarray  # the same shape, micro-USD of output

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.full, self.vectors = full_cost(train), self.encoder.encode(train.texts)
        self.score, self.raw_cost = train.score, train.raw_cost
        self.score_k = chosen_k(self.vectors, self.score, seed=seed)
        self.cost_k = chosen_k(self.vectors, self.raw_cost, gain=minus_squared_error, seed=seed)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return neighbour_means(self.encoder.encode(questions), self.vectors, self.score, (self.score_k,))[0]

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        cost = neighbour_means(self.encoder.encode(questions), self.vectors, self.raw_cost, (self.cost_k,))[0]
        return utility(self.quality(questions), cheapness(cost, self.full), alpha)


class CarrotRidge(FittedRouter):
    """Both by ridge regression on the encoder's vectors, in the place of the authors' RoBERTa."""

    FACTS, ESTIMATORS = ("full",), ("score_model", "cost_model")
    full: float  # micro-USD of output at which cheapness is 0
    score_model: Ridge
    cost_model: Ridge

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.full, vectors = full_cost(train), self.encoder.encode(train.texts)
        self.score_model = fitted_ridge(vectors, train.score, chosen_penalty(vectors, train.score, seed=seed))
        penalty = chosen_penalty(vectors, train.raw_cost, gain=minus_squared_error, seed=seed)
        self.cost_model = fitted_ridge(vectors, train.raw_cost, penalty)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self.score_model.predict(self.encoder.encode(questions)))

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        cost = np.maximum(self.cost_model.predict(self.encoder.encode(questions)), 0.0)
        return utility(self.quality(questions), cheapness(cost, self.full), alpha)
