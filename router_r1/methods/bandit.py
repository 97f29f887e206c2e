"""A policy that reads the cost weight: LLM Bandit (Li 2025, arXiv:2502.02743) and BaRP (Wang et al. 2025,
arXiv:2510.07429).

One network takes the question and the preference, and gives the probability of asking each candidate. It learns by
policy gradient, at an alpha drawn anew for every question and visit. Both papers hide what the candidates that were not
asked would have been worth, as a bandit does; a table of scores knows it, so the expectation over the policy's own
choice is taken exactly: the same gradient without its variance.

The preference (1 - alpha, alpha) weighs two outputs for each candidate, so that the network need not find out that a
utility is a weighed sum. With entropy in the reward the best policy is the softmax of utility / weight of the entropy
(Haarnoja et al. 2017, arXiv:1702.08165, theorem 1), which sets the scale of the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from router_r1.methods.network_router import NetworkRouter, descend, shuffled_batches
from router_r1.scores import ScoreTable, cheapness, full_cost

HIDDEN, BATCH_SIZE, EPOCHS, LEARNING_RATE, WEIGHT_DECAY = 128, 64, 10, 1e-3, 0.01
ENTROPY_WEIGHT = 0.1
"""Of the policy's entropy beside its utility: keeps it from being sure of what few questions say."""


class PreferencePolicy(nn.Module):
    """Question and alpha in, log-probabilities of candidates out."""

    def __init__(self, num_features: int, num_candidates: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, HIDDEN)
        self.quality, self.thrift = nn.Linear(HIDDEN, num_candidates), nn.Linear(HIDDEN, num_candidates)

    def forward(self, vectors: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
        """[num_questions, num_candidates]

        Args:
            vectors: [num_questions, num_features]
            alphas: [num_questions, 1]
        """
        hidden = self.hidden(vectors).relu()
        worth = (1 - alphas) * self.quality(hidden) + alphas * self.thrift(hidden)
        return (worth / ENTROPY_WEIGHT).log_softmax(dim=1)


def policy_loss(log_policy: torch.Tensor, utilities: torch.Tensor) -> torch.Tensor:
    """Minus the utility that the policy expects and its weighted entropy, mean over questions.

    Args:
        log_policy: [num_questions, num_candidates]
        utilities: of asking each candidate. The same shape.
    """
    policy = log_policy.exp()
    entropy = -(policy * log_policy).sum(dim=1)
    return -((policy * utilities).sum(dim=1) + ENTROPY_WEIGHT * entropy).mean()


class BanditRouter(NetworkRouter):
    """Its utilities are the policy's probabilities."""

    network_type = PreferencePolicy
    network: PreferencePolicy

    def __init__(self, epochs: int = EPOCHS) -> None:
        self.epochs = epochs

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        cheap = torch.from_numpy(cheapness(train.raw_cost, full_cost(train)).astype(np.float32))
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        for rows in shuffled_batches(len(vectors), BATCH_SIZE, epochs=self.epochs):
            alphas = torch.rand(len(rows), 1)
            utilities = (1 - alphas) * scores[rows] + alphas * cheap[rows]
            descend(optimizer, policy_loss(self.network(vectors[rows], alphas), utilities))

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return self.utilities(questions, 0.0)

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        return self.predicted(lambda vectors: self.network(vectors, _column(alpha, vectors)).exp(), questions)


def _column(alpha: float, vectors: torch.Tensor) -> torch.Tensor:
    """[num_questions, 1]"""
    return torch.full((len(vectors), 1), alpha)
