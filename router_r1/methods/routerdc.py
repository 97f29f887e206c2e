"""RouterDC: questions and candidates in one space, learned by two contrasts (Chen et al. 2024, arXiv:2409.19886).

A question goes to the candidate whose vector has the largest cosine with the question's. The losses are the paper's:
each of the best candidates against the worst ones (equation 3), and a question of the same cluster against questions of
other clusters (equation 5).

The encoder is not trained here, but a linear map of its vectors, which starts as the identity. The cosine becomes a
probability of being right, which can be weighed against money, by one rising curve for all candidates: where money does
not count, the order is that of the cosines.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn
from torch.nn import functional

from router_r1.methods.network_router import NetworkRouter, descend, shuffled_batches
from router_r1.scores import ScoreTable

BATCH_SIZE, STEPS = 16, 1000
NUM_CONTRASTED = 3
"""How many of the best candidates stand against how many of the worst; fewer where a pool has not twice as many."""
RIGHT = 0.5
"""A candidate with a better score is not pushed away, even as one of the worst."""
NUM_CLUSTERS, NUM_STRANGERS, CLUSTER_WEIGHT = 5, 3, 1.0
"""Groups of training questions by k-means; questions of others that stand against one of the same (H in the paper); the
weight of that loss."""
LEARNING_RATE, TEMPERATURE = 5e-5, 1.0
"""Theirs, for a whole encoder. A linear map hardly turns in 1,000 such steps, and a softmax of bare cosines is nearly
flat; `routers` also has the form with 5e-4 and 0.1, chosen on training folds."""
SPREAD = 0.78
"""Standard deviation of the candidates' vectors at first, in the authors' code."""


class SharedSpace(nn.Module):
    """Questions, mapped linearly, and candidates, by their cosine."""

    def __init__(self, num_features: int, num_candidates: int) -> None:
        super().__init__()
        self.map = nn.Linear(num_features, num_features, bias=False)
        nn.init.eye_(self.map.weight)
        self.candidates = nn.Parameter(SPREAD * torch.randn(num_candidates, num_features))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("level", torch.zeros(()))

    def cosines(self, mapped: torch.Tensor) -> torch.Tensor:
        """[num_questions, num_candidates]"""
        return functional.normalize(mapped, dim=1) @ functional.normalize(self.candidates, dim=1).T

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return (self.slope * self.cosines(self.map(vectors)) + self.level).sigmoid()


def candidate_loss(cosines: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Sum over the best candidates of -log softmax of its cosine among itself and the worst ones, mean over questions.

    A best candidate that scored 0 is left out, and so is a worst one that is right. Among equals the first ones count
    as the better.

    Args:
        cosines: of questions and candidates, by the temperature. [num_questions, num_candidates]
        scores: the same shape.
    """
    size = min(NUM_CONTRASTED, scores.shape[1] // 2)
    order = scores.argsort(dim=1, descending=True, stable=True)
    best, worst = order[:, :size], order[:, -size:]
    against = cosines.gather(1, worst).masked_fill(scores.gather(1, worst) > RIGHT, -torch.inf)
    own = cosines.gather(1, best)
    among = torch.cat([own[:, :, None], against[:, None].expand(-1, size, -1)], dim=2)  # [questions, best, 1 + worst]
    losses = among.logsumexp(dim=2) - own
    return (losses * (scores.gather(1, best) > 0)).sum(dim=1).mean()


def cluster_loss(
    mapped: torch.Tensor, anchors: torch.Tensor, friends: torch.Tensor, strangers: torch.Tensor
) -> torch.Tensor:
    """-log softmax of a question's cosine with its friend among that and its strangers, mean over the anchors.

    Args:
        mapped: a batch of questions. [batch_size, num_features]
        anchors: rows of questions that have strangers. [num_anchors]
        friends: for each the row of a question of its cluster. [num_anchors]
        strangers: for each, rows of questions of other clusters. [num_anchors, num_strangers]
    """
    unit = functional.normalize(mapped, dim=1)
    cosines = (unit[anchors] @ unit.T).gather(1, torch.cat([friends[:, None], strangers], dim=1))
    return -cosines.log_softmax(dim=1)[:, 0].mean()


def draw_others(clusters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Anchors, friends and strangers of a batch, as `cluster_loss` takes them.

    A question without enough strangers is no anchor; one that is alone in its cluster is its own friend.

    Args:
        clusters: of the batch's questions. [batch_size]
    """
    together = clusters[:, None] == clusters
    anchors = ((~together).sum(dim=1) >= NUM_STRANGERS).nonzero().squeeze(1)
    if not len(anchors):
        return anchors, anchors, anchors[:, None]
    others = together & ~torch.eye(len(clusters), dtype=torch.bool)
    friends = torch.where(others.any(dim=1, keepdim=True), others, together)[anchors].float().multinomial(1).squeeze(1)
    return anchors, friends, (~together)[anchors].float().multinomial(NUM_STRANGERS)


class RouterDC(NetworkRouter):
    """Dual contrastive learning over a frozen encoder."""

    network_type = SharedSpace
    network: SharedSpace

    def __init__(self, learning_rate: float = LEARNING_RATE, temperature: float = TEMPERATURE) -> None:
        self.learning_rate, self.temperature = learning_rate, temperature

    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        clusters = _clusters(vectors)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.learning_rate, fused=True)
        for rows in islice(shuffled_batches(len(vectors), BATCH_SIZE, epochs=1, min_steps=STEPS), STEPS):
            mapped = self.network.map(vectors[rows])
            lot = torch.randperm(scores.shape[1])  # which of two equal candidates is the better is drawn each time
            cosines = self.network.cosines(mapped) / self.temperature
            loss = candidate_loss(cosines[:, lot], scores[rows][:, lot])
            anchors, friends, strangers = draw_others(clusters[rows])
            if len(anchors):
                loss = loss + CLUSTER_WEIGHT * cluster_loss(mapped, anchors, friends, strangers)
            descend(optimizer, loss)
        with torch.no_grad():
            cosines = self.network.cosines(self.network.map(vectors))
        slope, level = rising_curve(cosines.flatten(), scores.flatten())
        self.network.slope.fill_(slope)
        self.network.level.fill_(level)


def rising_curve(values: torch.Tensor, scores: torch.Tensor) -> tuple[float, float]:
    """Slope, above 0, and level of the sigmoid that best predicts scores from values, by cross-entropy (Platt 1999)."""
    log_slope, level = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_slope, level], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = functional.binary_cross_entropy_with_logits(log_slope.exp() * values + level, scores)
        found.backward()
        return found

    optimizer.step(loss)
    return float(log_slope.detach().exp()), float(level.detach())


def _clusters(vectors: torch.Tensor) -> torch.Tensor:
    """The cluster of each training question. [num_questions]"""
    from sklearn.cluster import KMeans

    means = KMeans(min(NUM_CLUSTERS, len(vectors)), n_init=1, random_state=0).fit(vectors.numpy())
    return torch.from_numpy(means.labels_)
