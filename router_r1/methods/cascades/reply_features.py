"""What a cascade sees of a reply: vectors of question and reply, and a few plain facts; and linear models on them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router_r1.methods.encoders import Encoder

_HEDGE = re.compile(r"\b(not know|unknown|unsure|uncertain|sorry|cannot|can't|unable|unclear|however)\b", re.IGNORECASE)
_DIGITS = re.compile(r"\d")
_FOLDS = 5


def reply_features(encoder: Encoder, question_vectors: np.ndarray, replies: Sequence[str]) -> np.ndarray:
    """Vector of the question, of the reply, their product by element, and facts of the reply.

    Args:
        question_vectors: of the encoder, one for each reply. [num_replies, num_features]

    Returns:
        [num_replies, 3 num_features + 5]
    """
    reply_vectors = encoder.encode(replies)
    facts = np.array([_facts(reply) for reply in replies], dtype=np.float32).reshape(len(replies), -1)
    return np.hstack([question_vectors, reply_vectors, question_vectors * reply_vectors, facts])


def _facts(reply: str) -> list[float]:
    """Length in characters (logarithm), lines, hedges, share of digits, and whether it ends like a finished text."""
    return [
        math.log1p(len(reply)) / 10,
        math.log1p(reply.count("\n")) / 5,
        min(3, len(_HEDGE.findall(reply))) / 3,
        len(_DIGITS.findall(reply)) / max(1, len(reply)),
        float(reply.rstrip().endswith((".", "!", "?")) or reply.rstrip()[-1:].isdigit()),
    ]


@dataclass(frozen=True, eq=False)
class Logistic:
    """P(right) = sigmoid(weights . features + bias)."""

    weights: np.ndarray  # [num_features]
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[num_rows, num_features] -> [num_rows]"""
        return np.asarray(1 / (1 + np.exp(-(features @ self.weights + self.bias))))

    @classmethod
    def fit(cls, features: np.ndarray, right: np.ndarray, *, intercept: bool = True) -> Logistic:
        """Logistic regression (C = 1); of targets that are all alike, their share with half a case of the other.

        Args:
            right: True for a right reply. [num_rows]
        """
        if right.all() or not right.any():
            share = (right.sum() + 0.5) / (len(right) + 1)
            return cls(np.zeros(features.shape[1]), math.log(share / (1 - share)))
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0, max_iter=300, fit_intercept=intercept).fit(features, right)
        return cls(model.coef_[0].astype(float), float(model.intercept_[0]) if intercept else 0.0)


def fit_out_of_fold(features: np.ndarray, right: np.ndarray, *, seed: int) -> tuple[Logistic, np.ndarray]:
    """A model of all rows, and for each row what a model of the other folds says of it: what thresholds are chosen by,
    since a model flatters the rows that it was fitted on. [num_rows]"""
    folds = np.random.default_rng(seed).permutation(len(right)) % min(_FOLDS, len(right))
    unseen = np.empty(len(right))
    for fold in range(folds.max() + 1):
        own = folds == fold
        rest = ~own if not own.all() else own  # of a single row, itself
        unseen[own] = Logistic.fit(features[rest], right[rest])(features[own])
    return Logistic.fit(features, right), unseen


@dataclass(frozen=True, eq=False)
class ReplyScorers:
    """Whether a reply of each candidate is right, by question and reply."""

    encoder: Encoder
    models: tuple[Logistic, ...]
    """[num_candidates]"""

    def __call__(self, question: str, reply: str, column: int) -> float:
        """P(right) of one candidate's reply."""
        vectors = self.encoder.encode([question])
        return float(self.models[column](reply_features(self.encoder, vectors, [reply]))[0])

    @classmethod
    def fit(
        cls,
        encoder: Encoder,
        questions: Sequence[str],
        replies: Sequence[Sequence[str]],
        right: np.ndarray,
        *,
        seed: int,
    ) -> tuple[ReplyScorers, np.ndarray]:
        """The scorers, and what they say of replies that they were not fitted on.

        Args:
            replies: of each candidate to each question. [num_candidates][num_questions]
            right: [num_questions, num_candidates]

        Returns:
            With the scorers, P(right) out of fold. [num_questions, num_candidates]
        """
        vectors = encoder.encode(questions)
        models, unseen = [], []
        for column, said in enumerate(replies):
            model, own = fit_out_of_fold(reply_features(encoder, vectors, said), right[:, column], seed=seed)
            models.append(model)
            unseen.append(own)
        return cls(encoder, tuple(models)), np.stack(unseen, axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a file."""
        return {
            "scorer_weights": np.stack([model.weights for model in self.models]),
            "scorer_biases": np.array([model.bias for model in self.models]),
        }

    @classmethod
    def of_arrays(cls, encoder: Encoder, arrays: dict[str, np.ndarray]) -> ReplyScorers:
        """What `arrays` gave."""
        rows = zip(arrays["scorer_weights"], arrays["scorer_biases"], strict=True)
        return cls(encoder, tuple(Logistic(weights, float(bias)) for weights, bias in rows))
