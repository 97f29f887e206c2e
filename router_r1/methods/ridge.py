"""Ridge regression: the plainest model that predicts what each candidate scores from a question's words, or vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from router_r1.methods.cross_validation import Gain, best_setting, score_of_chosen
from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Tried by cross-validation: weights of the squared length of the coefficients."""


class TfidfRidge(FittedRouter):
    """Ridge regression on words and pairs of words, weighted by TF-IDF, which is fitted on the training questions.

    It needs no encoder: what can be learned from the words alone, and so what an embedding has to beat.

    Args:
        penalty: of the ridge; None chooses it by cross-validation.
    """

    FACTS, ESTIMATORS = ("penalty",), ("model",)
    model: Pipeline

    def __init__(self, penalty: float | None = None) -> None:
        self.penalty = penalty

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline

        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        if self.penalty is None:
            # The words' weights come from all training questions: they are no scores, and so nothing leaks.
            self.penalty = chosen_penalty(words.fit_transform(train.texts), train.score, seed=seed)
        self.model = make_pipeline(words, Ridge(alpha=self.penalty)).fit(train.texts, train.score)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.predict(questions))


class EncoderRidge(FittedRouter):
    """Ridge regression on the encoder's vectors.

    Args:
        penalty: of the ridge; None chooses it by cross-validation.
    """

    FACTS, ESTIMATORS = ("penalty",), ("model",)
    model: Ridge

    def __init__(self, penalty: float | None = None) -> None:
        self.penalty = penalty

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        vectors = self.encoder.encode(train.texts)
        if self.penalty is None:
            self.penalty = chosen_penalty(vectors, train.score, seed=seed)
        self.model = fitted_ridge(vectors, train.score, self.penalty)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.predict(self.encoder.encode(questions)))


def chosen_penalty(inputs: Any, target: np.ndarray, *, gain: Gain = score_of_chosen, seed: int) -> float:
    """The penalty that is best in cross-validation.

    Args:
        inputs: an array, or a sparse matrix. [num_questions, num_features]
        target: [num_questions, num_targets]
    """

    def predicted(fitted_on: np.ndarray, held_out: np.ndarray) -> list[np.ndarray]:
        fits = (fitted_ridge(inputs[fitted_on], target[fitted_on], penalty) for penalty in PENALTIES)
        return [fit.predict(inputs[held_out]) for fit in fits]

    return best_setting(PENALTIES, predicted, target, gain=gain, seed=seed)


def fitted_ridge(inputs: Any, target: np.ndarray, penalty: float) -> Ridge:
    """Inputs and target as for `chosen_penalty`."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalty).fit(inputs, target)
