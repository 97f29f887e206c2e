"""Bounds: routers that do not look at the question, or at nothing but where it may come from. A fitted router that does
not beat them has learned nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.datasets import normalise_question
from router_r1.methods.encoders import Encoder
from router_r1.methods.fitted import FittedRouter
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.scores import ScoreTable

CHEAPEST, DEAREST = "cheapest", "dearest"


class Random:
    """Each candidate alike, whatever alpha is. What is drawn depends on the seed and the question's words alone."""

    def fit(self, train: ScoreTable, encoder: Encoder, *, seed: int) -> None:
        self.num_candidates, self.seed = len(train.candidates), seed

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        drawn = [self._generator(question).random(self.num_candidates) for question in questions]
        return np.array(drawn).reshape(len(questions), self.num_candidates)

    def _generator(self, question: str) -> np.random.Generator:
        digest = hashlib.sha256(f"random/{self.seed}/{normalise_question(question)}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def save(self, folder: Path) -> None:
        write_fitted(folder, {"num_candidates": self.num_candidates, "seed": self.seed}, {})

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        facts, _, _ = read_fitted(folder)
        router = cls()
        router.num_candidates, router.seed = facts["num_candidates"], facts["seed"]
        return router


class BestConstant(FittedRouter):
    """The candidate with the best mean utility in training, at every alpha anew."""

    ARRAYS = ("mean_score",)
    mean_score: np.ndarray  # [num_candidates]

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.mean_score = train.score.mean(axis=0)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.tile(self.mean_score, (len(questions), 1))


class FixedOrder(FittedRouter):
    """One candidate, whatever alpha is; where a question does not offer it, the next in order.

    Args:
        first: `cheapest` or `dearest`, by mean raw cost in training, among equals the best. A table has no sizes: its
            "largest" is its dearest.
    """

    FACTS, ARRAYS = ("first",), ("worth",)
    worth: np.ndarray  # 1 for the first in order, falling evenly. [num_candidates]

    def __init__(self, first: str = CHEAPEST) -> None:
        self.first = first

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        sign = 1 if self.first == CHEAPEST else -1
        order = np.lexsort((-train.score.mean(axis=0), sign * train.raw_cost.mean(axis=0)))
        self.worth = np.empty(len(order))
        self.worth[order] = 1 - np.arange(len(order)) / len(order)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return np.tile(self.worth, (len(questions), 1))

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        return self.quality(questions)


class PerDataSet(FittedRouter):
    """For each data set of the training questions its best constant.

    A single-round router sees a question's text only, so the data set is that of the nearest training question by
    cosine. What a router could reach that is told the data set is `constant_routers.oracle_by_kind`.
    """

    ARRAYS = ("vectors", "source_of", "mean_score")
    vectors: np.ndarray  # [num_training_questions, num_features]
    source_of: np.ndarray  # [num_training_questions], rows of mean_score
    mean_score: np.ndarray  # [num_data_sources, num_candidates]

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        sources = [question.data_source for question in train.questions]
        names = sorted(set(sources))
        self.source_of = np.array([names.index(source) for source in sources])
        self.mean_score = np.array([train.score[self.source_of == n].mean(axis=0) for n in range(len(names))])
        self.vectors = self.encoder.encode(train.texts)

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        nearest = (self.encoder.encode(questions) @ self.vectors.T).argmax(axis=1)
        return np.asarray(self.mean_score[self.source_of[nearest]])
