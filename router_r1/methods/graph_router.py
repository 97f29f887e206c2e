"""GraphRouter: questions and candidates as nodes, recorded scores as edges (Feng et al. 2024, arXiv:2410.03834).

Two layers of message passing give candidates a state that has seen the questions they were asked and how they scored;
the score of a new question is sigmoid(mean(x_question * x_candidate)). As in the authors' code a question's task is the
other half of its node, and x_question is the node before any message, since a new question has no edges yet.

Where this differs: messages are averaged, not added, so that they do not grow with the number of questions, which also
makes batch normalisation needless; a candidate's own features are learned, since a table of scores has no descriptions;
a task's are the mean vector of its questions, and a question belongs to the task with the nearest mean, in training as
later, since a new question does not say where it comes from; edges are trained to be the score, not whether the
candidate is the best one at one weight of cost. Plain torch: with every candidate asked every question, an adjacency
matrix is the plainest graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from router_r1.methods.network_router import NetworkRouter, descend
from router_r1.scores import ScoreTable

HIDDEN = 8
"""Features of a task, and of a question; a node has both."""
LEARNING_RATE, WEIGHT_DECAY, MASK_SHARE, MASKS_PER_EPOCH = 3e-4, 1e-4, 0.5, 32
"""The authors'. In each step half of the edges are hidden, and predicted; their batch of 32 is of such masks."""
EPOCHS = 60


class MessagePassing(nn.Module):
    """One layer: x' = own(x) + mean over visible edges of (message(x_sender) + edge(score)); own(x) where none is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.message = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(1, width, bias=False)

    def forward(
        self, receivers: torch.Tensor, senders: torch.Tensor, scores: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """The receivers' next state.

        Args:
            receivers: [num_receivers, width]
            senders: [num_senders, width]
            scores: on the edges. [num_receivers, num_senders]
            visible: 1 where an edge is seen, else 0. The same shape.
        """
        share = visible / visible.sum(dim=1, keepdim=True).clamp(min=1)
        mean_score = (share * scores).sum(dim=1, keepdim=True)
        return self.own(receivers) + share @ self.message(senders) + self.edge(mean_score)


class ScoreGraph(nn.Module):
    """Aligns the nodes' features, passes messages, scores edges."""

    def __init__(self, num_features: int, num_candidates: int, num_tasks: int, hidden: int) -> None:
        super().__init__()
        width = 2 * hidden
        self.align_task = nn.Linear(num_features, hidden)
        self.align_question = nn.Linear(num_features, hidden)
        self.candidates = nn.Parameter(torch.randn(num_candidates, width))
        self.layers = nn.ModuleList([MessagePassing(width), MessagePassing(width)])
        self.register_buffer("tasks", torch.zeros(num_tasks, num_features))
        self.register_buffer("states", torch.zeros(num_candidates, width))  # candidates, having seen every edge

    def nodes(self, vectors: torch.Tensor) -> torch.Tensor:
        """Questions before any message. [num_questions, width]"""
        nearest = (vectors @ functional.normalize(self.tasks, dim=1).T).argmax(dim=1)
        return torch.cat([self.align_task(self.tasks[nearest]), self.align_question(vectors)], dim=1)

    def candidate_states(self, nodes: torch.Tensor, scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Candidates after both layers.

        Args:
            nodes: training questions. [num_questions, width]
            scores: [num_questions, num_candidates]
            visible: as in `MessagePassing`. The same shape.
        """
        first, second = self.layers
        questions = functional.leaky_relu(first(nodes, self.candidates, scores, visible))
        candidates = functional.leaky_relu(first(self.candidates, nodes, scores.T, visible.T))
        states: torch.Tensor = second(candidates, questions, scores.T, visible.T)
        return states

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return edge_logits(self.nodes(vectors), self.states).sigmoid()


def edge_logits(questions: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """mean(x_question * x_candidate), of every pair. [num_questions, num_candidates]"""
    return questions @ candidates.T / questions.shape[1]


class GraphRouter(NetworkRouter):
    """Learns to predict hidden edges from visible ones; binary cross-entropy."""

    network_type = ScoreGraph
    network: ScoreGraph

    def __init__(self, learning_rate: float = LEARNING_RATE, epochs: int = EPOCHS) -> None:
        self.learning_rate, self.epochs = learning_rate, epochs

    def sizes(self, train: ScoreTable, vectors: torch.Tensor) -> dict[str, Any]:
        tasks = {question.data_source for question in train.questions}
        return {**super().sizes(train, vectors), "num_tasks": len(tasks), "hidden": HIDDEN}

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        self.network.tasks.copy_(_task_means(train, vectors))
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=WEIGHT_DECAY, fused=True
        )
        for _ in range(self.epochs * MASKS_PER_EPOCH):
            hidden = (torch.rand_like(scores) < MASK_SHARE).float()
            nodes = self.network.nodes(vectors)
            logits = edge_logits(nodes, self.network.candidate_states(nodes, scores, 1 - hidden))
            descend(optimizer, functional.binary_cross_entropy_with_logits(logits, scores, weight=hidden / MASK_SHARE))
        with torch.no_grad():
            nodes = self.network.nodes(vectors)
            self.network.states.copy_(self.network.candidate_states(nodes, scores, torch.ones_like(scores)))


def _task_means(train: ScoreTable, vectors: torch.Tensor) -> torch.Tensor:
    """The mean vector of each data source's questions, by name. [num_tasks, num_features]"""
    names = np.array([question.data_source for question in train.questions])
    return torch.stack([vectors[torch.from_numpy(names == name)].mean(dim=0) for name in np.unique(names)])
