"""The BERT router: an encoder with a classification head that scores every candidate.

RouteLLM's BERT classifier (Ong et al. 2024, arXiv:2406.18665, section 4.2), taken to a pool of k with one output for
each candidate. The encoder stays as it is, and the head is trained on its vectors, which takes seconds on a CPU.
"""

from __future__ import annotations

import torch
from torch import nn

from router_r1.methods.network_router import NetworkRouter, correctness_loss, descend, shuffled_batches
from router_r1.scores import ScoreTable

DROPOUT, BATCH_SIZE = 0.1, 32
LEARNING_RATE, WEIGHT_DECAY, EPOCHS = 1e-3, 0.01, 5
"""Of a head alone. The usual 1e-5 to 5e-5 over 3 to 5 epochs are for a whole encoder, and would not move a head."""


class Head(nn.Module):
    """BERT's own for classification: dense, tanh, dropout, linear (Devlin et al. 2019)."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.dense, self.outputs = nn.Linear(num_features, num_features), nn.Linear(num_features, num_outputs)
        self.dropout = nn.Dropout(DROPOUT)

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """[num_questions, num_outputs]"""
        logits: torch.Tensor = self.outputs(self.dropout(self.dense(vectors).tanh()))
        return logits


def train_head(head: Head, vectors: torch.Tensor, targets: torch.Tensor, *, epochs: int, weight_decay: float) -> None:
    """Binary cross-entropy on targets in [0, 1]. [num_questions, num_outputs]"""
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=weight_decay, fused=True)
    for rows in shuffled_batches(len(vectors), BATCH_SIZE, epochs=epochs):
        descend(optimizer, correctness_loss(head.logits(vectors[rows]), targets[rows]))


class CandidateHead(Head):
    """One output for each candidate: the probability that it is right."""

    def __init__(self, num_features: int, num_candidates: int) -> None:
        super().__init__(num_features, num_candidates)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.logits(vectors).sigmoid()


class BertRouter(NetworkRouter):
    """A frozen encoder and a trained head."""

    network_type = CandidateHead
    network: CandidateHead

    def __init__(self, epochs: int = EPOCHS) -> None:
        self.epochs = epochs

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        train_head(self.network, vectors, scores, epochs=self.epochs, weight_decay=WEIGHT_DECAY)
