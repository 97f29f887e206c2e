"""Single-round routers: one that reads the question and names one candidate.

What such a router is fitted on is a `ScoreTable`, what it is asked for are utilities at a cost weight, so that one fit
gives a whole curve; which candidate is the best of those that a question offers is decided here, for all alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from router_r1.methods.encoders import Encoder
from router_r1.scores import ScoreTable, cheapness, full_cost, utility


class SingleRoundRouter(Protocol):
    """Chooses by the question's text alone. Made with its hyper-parameters, then fitted or loaded, once."""

    def fit(self, train: ScoreTable, encoder: Encoder, *, seed: int) -> None:
        """Learn from scores; the same table, encoder and seed give the same router."""
        ...

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        """How much each candidate is worth asking at the cost weight alpha, in [0, 1]; what counts is the order.

        Returns:
            In the order of the training table's candidates. [num_questions, num_candidates]
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that was learned, without pickle; `load` gives the same utilities."""
        ...

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self: ...


class QualityRouter(ABC):
    """A router that predicts what a candidate would score; what it would cost is its mean cost in training.

    Utilities follow: (1 - alpha) predicted score + alpha cheapness. The last prediction is remembered: a curve asks for
    the same questions at one alpha after another.
    """

    _last: tuple[tuple[str, ...], np.ndarray] | None = None

    def fit(self, train: ScoreTable, encoder: Encoder, *, seed: int) -> None:
        self.encoder, self._last = encoder, None
        self.cheapness = cheapness(train.raw_cost.mean(axis=0), full_cost(train))  # [num_candidates]
        self.fit_quality(train, seed=seed)

    def utilities(self, questions: Sequence[str], alpha: float) -> np.ndarray:
        asked = tuple(questions)
        if self._last is None or self._last[0] != asked:
            self._last = asked, self.quality(asked)
        return utility(self._last[1], self.cheapness, alpha)

    @abstractmethod
    def fit_quality(self, train: ScoreTable, *, seed: int) -> None:
        """Learn to predict scores; `self.encoder` is there."""

    @abstractmethod
    def quality(self, questions: Sequence[str]) -> np.ndarray:
        """Predicted scores. [num_questions, num_candidates]"""


def chosen(utilities: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """The column of the best candidate that each question offers; among equals the first. [num_questions]"""
    return np.asarray(np.where(offered, utilities, -np.inf).argmax(axis=1))


def missing_modules(needs: Iterable[str]) -> str:
    """What to do about the modules that a method needs and that are not there; "" if all are."""
    missing = [name for name in needs if find_spec(name) is None]
    return f"needs {', '.join(missing)}: pip install 'router-r1[methods]'" if missing else ""


@dataclass(frozen=True)
class RouterEntry:
    """A single-round router as the table of methods knows it."""

    title: str
    """As it is called in tables, such as "kNN"."""
    make: Callable[[], SingleRoundRouter]
    """Imports what it needs when it is called."""
    source: str
    """Paper or repository, for documentation."""
    needs: tuple[str, ...] = ()
    """Modules that must be there."""
