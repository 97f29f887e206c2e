"""Avengers-Pro (arXiv:2508.12631): what each candidate scores on clusters of similar questions, mixed over the clusters
nearest to the question asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.fitted import FittedRouter
from router_r1.scores import ScoreTable

NUM_CLUSTERS, NUM_NEAREST, BETA = 25, 3, 9.0


class AvengersPro(FittedRouter):
    """k-means on the vectors, mean scores per cluster, and a softmax of beta * cosine over the nearest centres.

    The authors rescale scores and costs within each cluster to [0, 1] before they weigh them, so that one alpha means
    another exchange rate of quality and money in each; here alpha means the same everywhere, as for every other router.
    """

    FACTS, ARRAYS = ("num_clusters", "num_nearest", "beta"), ("centres", "mean_score")
    centres: np.ndarray  # of length 1. [num_clusters, num_features]
    mean_score: np.ndarray  # [num_clusters, num_candidates]

    def __init__(self, num_clusters: int = NUM_CLUSTERS, num_nearest: int = NUM_NEAREST, beta: float = BETA) -> None:
        self.num_clusters, self.num_nearest, self.beta = num_clusters, num_nearest, beta

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        from sklearn.cluster import KMeans
        from sklearn.preprocessing import normalize

        vectors = self.encoder.encode(train.texts)
        num_clusters = min(self.num_clusters, len(np.unique(vectors, axis=0)))
        clusters = KMeans(num_clusters, n_init=10, random_state=seed).fit(vectors)
        self.centres = normalize(clusters.cluster_centers_)
        self.mean_score = np.array([train.score[clusters.labels_ == n].mean(axis=0) for n in range(num_clusters)])

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        cosine = self.encoder.encode(questions) @ self.centres.T
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : self.num_nearest]
        logits = self.beta * np.take_along_axis(cosine, nearest, axis=1)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("qn,qnc->qc", weights, self.mean_score[nearest]))
