"""A multilayer perceptron on the encoder's vectors: one predicted score for each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

if TYPE_CHECKING:
    from sklearn.neural_network import MLPRegressor

HIDDEN, LEARNING_RATE, MAX_ITERATIONS = (128, 64), 1e-3, 500
"""LLMRouter's, with ReLU and Adam."""


class Perceptron(FittedRouter):
    """Squared error on all candidates' scores at once, where LLMRouter classifies the best candidate: a score serves
    every alpha, and questions that several candidates answer teach something about each."""

    ESTIMATORS = ("model",)
    model: MLPRegressor

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        from sklearn.neural_network import MLPRegressor

        self.model = MLPRegressor(
            hidden_layer_sizes=HIDDEN, learning_rate_init=LEARNING_RATE, max_iter=MAX_ITERATIONS, random_state=seed
        )
        self.model.fit(self.encoder.encode(train.texts), train.score)
        del self.model._optimizer  # of no use after fitting, and of a class that no file of a router may hold

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.predict(self.encoder.encode(questions)))
