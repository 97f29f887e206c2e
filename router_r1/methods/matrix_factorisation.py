"""Matrix factorisation: a candidate's vector times the question's, weighed (RouteLLM, EmbedLLM).

    score(candidate, question) = w . (v_candidate * W q)

RouteLLM (Ong et al. 2024, arXiv:2406.18665, section 4.2) takes it through a sigmoid of the difference between the two
candidates of a battle, EmbedLLM (Zhuang et al. 2024, arXiv:2410.02223, section 3) through a sigmoid of its own, as the
probability that the candidate is right. Here both forms predict that the candidate is right: wins leave open how good
the better one is, and without that a score cannot be weighed against money. A pool of k is then no other case than one
of two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from router_r1.methods.network_router import NetworkRouter, correctness_loss, descend, shuffled_batches
from router_r1.scores import ScoreTable


@dataclass(frozen=True)
class FactorSizes:
    """What the network looks like."""

    dim: int
    """Length of a candidate's vector."""
    noise: float
    """Standard deviation of what is added to each feature of a question in training."""
    unit_candidates: bool
    """Whether candidates' vectors have length 1."""
    bias: bool
    """Whether W and w have one."""


@dataclass(frozen=True)
class FactorTraining:
    """How it is trained: by Adam, a batch being so many questions with all their candidates."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int


Form = Literal["routellm", "embedllm"]

FORMS: dict[Form, tuple[FactorSizes, FactorTraining]] = {
    "routellm": (FactorSizes(128, 0.1, unit_candidates=True, bias=False), FactorTraining(3e-4, 1e-5, 64, 100)),
    "embedllm": (FactorSizes(232, 0.05, unit_candidates=False, bias=True), FactorTraining(1e-4, 0.0, 256, 50)),
}
"""The constants of the authors' code. EmbedLLM's batch is of 2,048 pairs, here of 256 questions, which is as many in a
pool of eight; RouteLLM's of 64 battles, here of 64 questions."""


class Factors(nn.Module):
    """Candidates and questions in one space."""

    def __init__(
        self, num_features: int, num_candidates: int, dim: int, noise: float, unit_candidates: bool, bias: bool
    ) -> None:
        super().__init__()
        self.candidates = nn.Parameter(torch.randn(num_candidates, dim))
        self.project = nn.Linear(num_features, dim, bias=bias)
        self.weigh = nn.Linear(dim, 1, bias=bias)
        self.noise, self.unit_candidates = noise, unit_candidates

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """w . (v_candidate * W q), of every pair. [num_questions, num_candidates]"""
        if self.training:
            vectors = vectors + self.noise * torch.randn_like(vectors)
        factors = self.candidates
        if self.unit_candidates:
            factors = functional.normalize(factors, dim=1)
        logits: torch.Tensor = self.weigh(self.project(vectors)[:, None] * factors).squeeze(2)
        return logits

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.logits(vectors).sigmoid()


class MatrixFactorisation(NetworkRouter):
    """Learns whether a candidate is right; a score between 0 and 1 counts as so likely."""

    network_type = Factors
    network: Factors

    def __init__(self, form: Form = "routellm") -> None:
        self.form, self.training = FORMS[form]

    def sizes(self, train: ScoreTable, vectors: torch.Tensor) -> dict[str, Any]:
        return {**super().sizes(train, vectors), **asdict(self.form)}

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        how = self.training
        optimizer = torch.optim.Adam(
            self.network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True
        )
        for rows in shuffled_batches(len(vectors), how.batch_size, epochs=how.epochs):
            logits = self.network.logits(vectors[rows])
            descend(optimizer, correctness_loss(logits, scores[rows]))
