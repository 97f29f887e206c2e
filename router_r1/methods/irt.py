"""IRT-Router: item response theory of tests, with questions as items and candidates as examinees.

    P(right) = sigmoid(a(question) . theta(candidate) - b(question))

Song et al. 2025 (arXiv:2506.01048), multidimensional form: a is how much each of 25 abilities counts for the question,
b how hard it is. What the authors compute theta from, a description of the model, a table of scores does not have: here
theta is learned for each candidate. Their utility is 0.8 P - 0.3 cost; here it is that of all routers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from router_r1.methods.network_router import NetworkRouter, correctness_loss, descend, shuffled_batches
from router_r1.scores import ScoreTable

NUM_ABILITIES, BATCH_SIZE, EPOCHS = 25, 64, 9
"""The authors'. Their batch is of 512 pairs, here of 64 questions, which is as many in a pool of eight."""
LEARNING_RATE = 3e-3
"""Adam's; chosen on training folds, for want of a figure in the paper."""
NUM_NEIGHBOURS, OWN_SHARE = 5, 0.5
"""Warm-up: a question that was not trained on is half itself and half the mean of the training questions most like it
(section 4.3 of the paper mixes the two; the shares are ours)."""


class ItemResponses(nn.Module):
    """Abilities of candidates; discrimination and difficulty of questions, both linear in their vectors."""

    def __init__(self, num_features: int, num_candidates: int, num_abilities: int, num_known: int) -> None:
        super().__init__()
        self.ability = nn.Parameter(torch.randn(num_candidates, num_abilities))  # theta
        self.discrimination = nn.Linear(num_features, num_abilities)
        self.difficulty = nn.Linear(num_features, 1)
        self.register_buffer("known", torch.zeros(num_known, num_features))  # the training questions

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """a . theta - b. a is above 0: more of an ability never hurts. [num_questions, num_candidates]"""
        return functional.softplus(self.discrimination(vectors)) @ self.ability.T - self.difficulty(vectors)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.logits(warmed_up(vectors, self.known)).sigmoid()


def warmed_up(vectors: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Vectors of new questions, drawn towards the known ones that are most like them.

    Args:
        vectors: of length 1. [num_questions, num_features]
        known: of length 1. [num_known, num_features]
    """
    nearest = (vectors @ known.T).topk(min(NUM_NEIGHBOURS, len(known)), dim=1).indices
    return OWN_SHARE * vectors + (1 - OWN_SHARE) * known[nearest].mean(dim=1)


class IrtRouter(NetworkRouter):
    """Binary cross-entropy on whether a candidate is right; a score between 0 and 1 counts as so likely."""

    network_type = ItemResponses
    network: ItemResponses

    def __init__(self, learning_rate: float = LEARNING_RATE, epochs: int = EPOCHS) -> None:
        self.learning_rate, self.epochs = learning_rate, epochs

    def sizes(self, train: ScoreTable, vectors: torch.Tensor) -> dict[str, Any]:
        return {**super().sizes(train, vectors), "num_abilities": NUM_ABILITIES, "num_known": len(vectors)}

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        self.network.known.copy_(vectors)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, fused=True)
        for rows in shuffled_batches(len(vectors), BATCH_SIZE, epochs=self.epochs):
            logits = self.network.logits(vectors[rows])
            descend(optimizer, correctness_loss(logits, scores[rows]))
