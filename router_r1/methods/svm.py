"""Support vector regression on the encoder's vectors, for each candidate by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

if TYPE_CHECKING:
    from sklearn.multioutput import MultiOutputRegressor


class SupportVectors(FittedRouter):
    """RBF kernel and C = 1, as LLMRouter.

    LLMRouter classifies the best candidate. A classifier knows one alpha only, so that every point of a curve would be
    another fit, and among candidates that are equally right it learns an arbitrary one. A regression of each score
    serves every alpha. Its loss is the distance beyond a margin of 0.1, whose minimum lies nearer the median than the
    mean: of a candidate that is right on a third of some questions it predicts less than a third.
    """

    ESTIMATORS = ("model",)
    model: MultiOutputRegressor

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        from sklearn.multioutput import MultiOutputRegressor
        from sklearn.svm import SVR

        self.model = MultiOutputRegressor(SVR(kernel="rbf", C=1.0))
        self.model.fit(self.encoder.encode(train.texts), train.score)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.predict(self.encoder.encode(questions)))
