"""What routers that are torch networks share: one thread, one seed, training in batches, files.

Invariants:

- the same table, encoder, seed and build of torch give the same weights, whatever ran before, and the caller's random
  numbers and threads are as they were afterwards;
- all that a router knows is in its network's `state_dict`, so that a file of it gives the same utilities.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from router_r1.errors import ConfigError
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.methods.single_round import QualityRouter
from router_r1.scores import ScoreTable

MIN_STEPS = 300
"""Fewer leave a network near where it began, so a small table is gone through more often than the authors went through
their large ones."""


class NetworkRouter(QualityRouter):
    """A router whose network reads a question's vector and predicts every candidate's score.

    The network is called with vectors [num_questions, num_features] and returns scores in [0, 1]
    [num_questions, num_candidates].
    """

    network_type: ClassVar[Callable[..., nn.Module]]
    """Called with what `sizes` returns."""

    def fit(self, train: ScoreTable, encoder: Encoder, *, seed: int) -> None:
        self.candidates = train.candidates
        super().fit(train, encoder, seed=seed)

    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        vectors = torch.from_numpy(self.encoder.encode(train.texts))
        with reproducible(seed):
            self._sizes = self.sizes(train, vectors)
            self.network = self.network_type(**self._sizes)
            self.network.train()
            self.learn(train, vectors, torch.from_numpy(train.score.astype(np.float32)))
            self.network.eval()

    def sizes(self, train: ScoreTable, vectors: torch.Tensor) -> dict[str, Any]:
        """The network's shape, as JSON types."""
        return {"num_features": vectors.shape[1], "num_candidates": len(train.candidates)}

    @abstractmethod
    def learn(self, train: ScoreTable, vectors: torch.Tensor, scores: torch.Tensor) -> None:
        """Train `self.network`.

        Args:
            vectors: of the training questions. [num_questions, num_features]
            scores: the table's, in float32. [num_questions, num_candidates]
        """

    def quality(self, questions: Sequence[str]) -> np.ndarray:
        return self.predicted(self.network, questions)

    def predicted(self, network: Callable[[torch.Tensor], torch.Tensor], questions: Sequence[str]) -> np.ndarray:
        """What a network says of questions. [num_questions, num_candidates]"""
        vectors = torch.from_numpy(self.encoder.encode(questions))
        with one_thread(), torch.inference_mode():
            return np.asarray(network(vectors).numpy())

    def save(self, folder: Path) -> None:
        facts = {"encoder": self.encoder.name, "candidates": list(self.candidates), "sizes": self._sizes}
        arrays = {f"network.{name}": tensor.numpy() for name, tensor in self.network.state_dict().items()}
        write_fitted(folder, facts, {**arrays, "cheapness": self.cheapness})

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        """What `save` wrote.

        Raises:
            ConfigError: the folder holds no fitted router, or one of another encoder or another network.
        """
        facts, arrays, _ = read_fitted(folder)
        if facts.get("encoder") != encoder.name:
            remedy = f"is not the encoder that it was fitted with, {facts.get('encoder')}; give that, or fit it anew"
            raise ConfigError(folder, "encoder", encoder.name, remedy)
        router = cls()
        router.encoder = encoder
        try:
            router.candidates, router.cheapness = tuple(facts["candidates"]), arrays.pop("cheapness")
            router._sizes = facts["sizes"]
            router.network = cls.network_type(**facts["sizes"])
            weights = {name.removeprefix("network."): torch.from_numpy(array) for name, array in arrays.items()}
            router.network.load_state_dict(weights)
        except (KeyError, TypeError, RuntimeError) as fault:
            words = " ".join(str(fault).split())
            raise ConfigError(folder, "", None, f"holds no fitted {cls.__name__}: {words}") from None
        router.network.eval()
        return router


@contextmanager
def one_thread() -> Iterator[None]:
    """The order in which several threads add up is not always the same; and these networks are too small for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread, and random numbers from the seed; the caller's own go on where they were."""
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def shuffled_batches(count: int, size: int, *, epochs: int, min_steps: int = MIN_STEPS) -> Iterator[torch.Tensor]:
    """The numbers 0 to `count` - 1 in random order, in batches of up to `size`, all of them once in each epoch.

    Args:
        min_steps: as many epochs more as it takes to make so many batches.
    """
    for _ in range(max(epochs, math.ceil(min_steps / math.ceil(count / size)))):
        yield from torch.randperm(count).split(size)


def correctness_loss(logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of being right; a score between 0 and 1 counts as so likely. The same shape each."""
    return functional.binary_cross_entropy_with_logits(logits, scores)


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step down the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
