"""Routoo (arXiv:2401.13979): one model predicts what a candidate scores on a question, from both of them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.forest import ForestRouter
from router_r1.methods.prompt_features import features
from router_r1.scores import ScoreTable

NUM_DIRECTIONS, NUM_PROFILE = 32, 4
NUM_TREES, MIN_LEAF, MAX_FEATURES = 60, 50, 0.5


class Routoo(ForestRouter):
    """A forest whose rows are pairs of a question and a candidate, and whose target is one score.

    The authors fine-tune a 7B LLM with an embedding for each candidate, and choose under a budget for all questions.
    Here a question is its vector's main directions and its readable features; a candidate is its mean score and its
    profile: where it is better than the others. Since all candidates share the trees, what is learned of one carries
    over to those with a similar profile. Money enters as everywhere here, by alpha.
    """

    ARRAYS = (*ForestRouter.ARRAYS, "centre", "directions", "descriptors")
    centre: np.ndarray  # mean of the training vectors. [num_features]
    directions: np.ndarray  # [at most NUM_DIRECTIONS, num_features]
    descriptors: np.ndarray  # [num_candidates, 1 + at most NUM_PROFILE]

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        vectors = self.encoder.encode(train.texts)
        self.centre = vectors.mean(axis=0)
        self.directions = np.linalg.svd(vectors - self.centre, full_matrices=False)[2][:NUM_DIRECTIONS]
        self.descriptors = described(train.score)
        target = train.score.reshape(-1, 1)  # as the rows below: question by question, candidate by candidate
        self.grow(
            self._pairs(vectors, train.texts),
            target,
            num_trees=NUM_TREES,
            min_leaf=MIN_LEAF,
            max_features=MAX_FEATURES,
            seed=seed,
        )

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        pairs = self._pairs(self.encoder.encode(questions), questions)
        return self.forest_mean(pairs).reshape(len(questions), len(self.descriptors))

    def _pairs(self, vectors: np.ndarray, questions: Sequence[str]) -> np.ndarray:
        """float32. [num_questions * num_candidates, num_directions + num_readable_features + num_descriptors]"""
        read = np.hstack([(vectors - self.centre) @ self.directions.T, features(questions)])
        num_questions, num_candidates = len(questions), len(self.descriptors)
        pairs = np.hstack([np.repeat(read, num_candidates, axis=0), np.tile(self.descriptors, (num_questions, 1))])
        return pairs.astype(np.float32)


def described(score: np.ndarray) -> np.ndarray:
    """Each candidate by its mean score, and by its coordinates in the main directions of the scores: candidates that do
    well on the same questions lie near each other.

    Args:
        score: [num_questions, num_candidates]
    """
    relative = score - score.mean(axis=1, keepdims=True)
    _, sizes, directions = np.linalg.svd(relative / len(score) ** 0.5, full_matrices=False)
    profile = (sizes[:, None] * directions)[:NUM_PROFILE].T  # a direction in which nobody differs counts for nothing
    return np.hstack([score.mean(axis=0)[:, None], profile])
