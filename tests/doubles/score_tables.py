"""Small tables of scores whose questions say which candidate is right, and a ridge regression to learn it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.methods.single_round import QualityRouter
from router_r1.scores import ScoredQuestion, ScoreTable

TOPICS = ("river", "planet", "poem")
CANDIDATES = ("small", "large", "huge")
COSTS = (1.0, 4.0, 10.0)
"""Micro-USD of output, whatever the question."""


def topical_table(num_questions: int = 300, *, noise: float = 0.1, seed: int = 0) -> ScoreTable:
    """Each candidate is good at one topic and poor at others; `huge` is the best over all."""
    draw = np.random.default_rng(seed)
    good = np.array([[0.9, 0.1, 0.5], [0.1, 0.9, 0.6], [0.1, 0.3, 0.9]])  # [topic, candidate]
    topics = draw.integers(0, len(TOPICS), num_questions)
    questions = tuple(
        ScoredQuestion(f"q{n}", TOPICS[topic], f"a {TOPICS[topic]} by the number {n}?")
        for n, topic in enumerate(topics)
    )
    right = draw.random((num_questions, len(CANDIDATES))) < (1 - noise) * good[topics] + noise / 2
    costs = np.tile(COSTS, (num_questions, 1))
    return ScoreTable(questions, CANDIDATES, right.astype(float), costs, costs * 1e-6, np.ones_like(right), "a table")


class WordCounts:
    """An encoder of the few words that matter, so that no test needs scikit-learn for its vectors."""

    name = "topics"

    def __init__(self) -> None:
        self.asked = 0
        """Texts that it was given so far."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        return np.array([[float(topic in text) for topic in TOPICS] for text in texts], dtype=np.float32)


class LeastSquares(QualityRouter):
    """Ridge regression from vectors to scores, in closed form."""

    fits = 0
    """Of all of them."""

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        type(self).fits += 1
        inputs = self._inputs(train.texts)
        self.weights = np.linalg.solve(inputs.T @ inputs + 0.1 * np.eye(inputs.shape[1]), inputs.T @ train.score)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.asarray(self._inputs(questions) @ self.weights)

    def _inputs(self, questions: Sequence[str]) -> np.ndarray:
        vectors = self.encoder.encode(questions)
        return np.column_stack([vectors, np.ones(len(vectors))])

    def save(self, folder: Path) -> None:
        write_fitted(folder, {}, {"weights": self.weights, "cheapness": self.cheapness})

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        router = cls()
        _, arrays, _ = read_fitted(folder)
        router.encoder, router.weights, router.cheapness = encoder, arrays["weights"], arrays["cheapness"]
        return router
