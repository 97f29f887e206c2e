"""LLMRank (arXiv:2510.01234): a score for each candidate from features of the prompt that a person can read, and the
features that speak for a candidate, as the reason why it was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.errors import ConfigError
from router_r1.methods.encoders import Encoder
from router_r1.methods.forest import ForestRouter
from router_r1.methods.prompt_features import FEATURE_NAMES, features
from router_r1.scores import ScoreTable

NUM_TREES, MIN_LEAF, MAX_FEATURES = 100, 20, 0.5


class LlmRank(ForestRouter):
    """A forest on the features of `prompt_features`; the encoder is not used.

    The authors rank with a neural model on features some of which an LLM writes down, and a small LLM's own attempt is
    one of them. Here all features are counted, so that they cost nothing, and the forest's contributions are exact.
    """

    FACTS = ("candidates", "feature_names")
    candidates: list[str]
    feature_names: list[str]

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        self.candidates, self.feature_names = list(train.candidates), list(FEATURE_NAMES)
        self.grow(
            features(train.texts),
            train.score,
            num_trees=NUM_TREES,
            min_leaf=MIN_LEAF,
            max_features=MAX_FEATURES,
            seed=seed,
        )

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return self.forest_mean(features(questions))

    def reasons(self, question: str, candidate: str) -> list[tuple[str, float]]:
        """Why this candidate: what each feature of the question adds to its lead, which is how far the score predicted
        for it lies above the mean of all candidates. What makes a question hard for all alike is no reason.

        Returns:
            Feature and contribution, in units of the score, the greatest in size first; features that add nothing are
            left out. The contributions and the candidate's mean lead in training sum up to the lead that is predicted.

        Raises:
            ConfigError: the router was not fitted on such a candidate.
        """
        if candidate not in self.candidates:
            raise ConfigError("LLMRank", "candidate", candidate, f"is none of {', '.join(self.candidates)}")
        column = self.candidates.index(candidate)
        scores = self.forest_contributions(features([question]))[0]  # [num_features, num_candidates]
        added = scores[:, column] - scores.mean(axis=1)
        order = np.argsort(-np.abs(added), kind="stable")
        return [(self.feature_names[n], float(added[n])) for n in order if added[n] != 0]

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        router = super().load(folder, encoder)
        if router.feature_names != list(FEATURE_NAMES):
            raise ConfigError(folder, "feature_names", None, "are those of another version; fit it anew")
        return router
