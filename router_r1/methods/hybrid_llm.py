"""Hybrid-LLM: is the small candidate as good as the large one? (Ding et al. 2024, arXiv:2404.14618)

The authors train an encoder to predict P(small as good as large) and go to the small one above a threshold. A pool of
k has k (k - 1) ordered pairs, and the head an output for each: P(i as good as j), where i takes the small one's part.
Scores of 0 and 1 obey

    E[score_i] - E[score_j] = P(i as good as j) - P(j as good as i),

so that a candidate's lead over the mean of the pool is the mean of this over all j. With two candidates and money
weighed in, that is the authors' rule with a threshold of its own for each question: the probability that the large one
is as good as the small one, less what the small one saves.

Targets, from the mean score over samples of each of the two (sections 3.1 to 3.3 of the paper):

- deterministic: 1 if score_i >= score_j;
- probabilistic: the probability of this for a sample of each, 1 - (1 - score_i) score_j for samples right or wrong;
- transformed: 1 if score_i >= score_j - t, with the t at which the targets of the training questions differ most from
  each other. Scores of 0 and 1 alone leave nothing to transform: t is 0 then.
"""

from __future__ import annotations

from typing import Literal

import torch

from router_r1.methods.bert import Head, train_head
from router_r1.methods.network_router import NetworkRouter
from router_r1.scores import ScoreTable

Targets = Literal["deterministic", "probabilistic", "transformed"]

EPOCHS = 5
WEIGHT_DECAY = 0.1
"""The authors'. Their learning rate of 1e-5 is for a whole encoder; that of a head is in `bert`."""
SLACKS = tuple(step / 20 for step in range(20))
"""Values of t that are tried."""


class PairHead(Head):
    """One output for each ordered pair."""

    def __init__(self, num_features: int, num_candidates: int) -> None:
        super().__init__(num_features, num_candidates**2)
        self.num_candidates = num_candidates
        self.register_buffer("level", torch.zeros(()))  # mean score of all candidates on all training questions

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """The mean score of the pool and each candidate's lead; may be a little outside [0, 1]."""
        as_good = self.logits(vectors).sigmoid().unflatten(1, (self.num_candidates, self.num_candidates))
        return self.level + leads(as_good)


def leads(as_good: torch.Tensor) -> torch.Tensor:
    """By how much each candidate's expected score is above the pool's mean.

    Args:
        as_good: P(i as good as j). [num_questions, num_candidates (i), num_candidates (j)]
    """
    return (as_good - as_good.transpose(1, 2)).mean(dim=2)


def pair_targets(scores: torch.Tensor, kind: Targets) -> torch.Tensor:
    """What P(i as good as j) is trained on, in [0, 1].

    Args:
        scores: [num_questions, num_candidates]

    Returns:
        [num_questions, num_candidates (i), num_candidates (j)]
    """
    small, large = scores[:, :, None], scores[:, None]
    if kind == "probabilistic":
        return 1 - (1 - small) * large
    slack = _best_slack(scores) if kind == "transformed" else 0.0
    return (small >= large - slack).float()


def _best_slack(scores: torch.Tensor) -> float:
    """The t of `SLACKS` with the largest mean difference of targets between two questions, which for targets of 0 and 1
    with the mean p is 2 p (1 - p); the mean over pairs, since all need the same t. Among equals the smallest."""

    def difference(slack: float) -> float:
        means = (scores[:, :, None] >= scores[:, None] - slack).float().mean(dim=0)
        return float((means * (1 - means)).mean())

    return max(SLACKS, key=difference)


class HybridLlm(NetworkRouter):
    """A frozen encoder and a head for pairs."""

    network_type = PairHead
    network: PairHead

    def __init__(self, targets: Targets = "transformed") -> None:
        self.targets: Targets = targets

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        self.network.level.fill_(scores.mean())
        targets = pair_targets(scores, self.targets).flatten(start_dim=1)
        train_head(self.network, vectors, targets, epochs=EPOCHS, weight_decay=WEIGHT_DECAY)
