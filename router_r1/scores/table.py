"""What every candidate scored on every question, and what that cost: single-round routers learn from it, and they and
their bounds are judged by it.

Invariants of a table:

- every candidate has a score, a cost and a spend for every question, all finite; scores are in [0, 1];
- a question stands in it once, by its id; there are at least two candidates;
- every question offers at least one candidate. What a question does not offer has a score all the same: a router may
  learn from it, and may not choose it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from router_r1.constant_routers import CandidateTable
from router_r1.datasets import normalise_question
from router_r1.errors import ConfigError


@dataclass(frozen=True)
class ScoredQuestion:
    """A question that candidates were asked."""

    id: str
    data_source: str
    """The data set or task that it comes from."""
    text: str
    """As the candidates read it."""
    golden_answers: tuple[str, ...] = ()
    """() where only the scores are known."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores and costs of every candidate on every question, each the mean over its samples.

    Raises:
        ConfigError: it breaks an invariant of this module.
    """

    questions: tuple[ScoredQuestion, ...]
    candidates: tuple[str, ...]
    score: np.ndarray
    """EM, or whatever metric the scores were recorded by. [num_questions, num_candidates]"""
    raw_cost: np.ndarray
    """Micro-USD of output. The same shape."""
    spend_usd: np.ndarray
    """The same in USD, of prompt and output; where no prompts were counted, of output alone."""
    offered: np.ndarray
    """Whether a router may choose the candidate for the question."""
    source: str = "scores"
    """Where it was read, for error texts."""

    def __post_init__(self) -> None:
        if len(self.candidates) < 2:
            raise ConfigError(self.source, "candidate", ", ".join(self.candidates), "is the only one; give two or more")
        if not self.questions:
            raise ConfigError(self.source, "question", None, "there is none")
        seen: set[str] = set()
        for question in self.questions:
            if question.id in seen:
                raise ConfigError(self.source, "id", question.id, "names two questions; give each its own")
            seen.add(question.id)
        for key in ("score", "raw_cost", "spend_usd"):
            self._check(key, getattr(self, key), most=1.0 if key == "score" else np.inf)
        for row in np.flatnonzero(~self.offered.any(axis=1)):
            raise ConfigError(self.source, "offered", self.questions[row].id, "offers no candidate of these scores")

    def _check(self, key: str, values: np.ndarray, most: float) -> None:
        if values.shape != (len(self.questions), len(self.candidates)):
            raise ValueError(f"{key} has the shape {values.shape}")
        for row, column in np.argwhere(~((values >= 0) & (values <= most) & np.isfinite(values))):
            remedy = "must be a number in [0, 1]" if most == 1 else "must be a finite number of 0 or more"
            place = f"{key} of {self.candidates[column]} for question {self.questions[row].id}"
            raise ConfigError(self.source, place, float(values[row, column]), remedy)

    def __len__(self) -> int:
        return len(self.questions)

    @cached_property
    def texts(self) -> list[str]:
        return [question.text for question in self.questions]

    def rows(self, numbers: Sequence[int] | np.ndarray) -> ScoreTable:
        """Some of its questions, in this order."""
        return ScoreTable(
            tuple(self.questions[n] for n in numbers),
            self.candidates,
            self.score[numbers],
            self.raw_cost[numbers],
            self.spend_usd[numbers],
            self.offered[numbers],
            self.source,
        )

    def as_candidate_table(self) -> CandidateTable:
        """The same for constants and oracles: of what is offered, every question weighing the same."""
        keys = tuple(("scores", number) for number in range(len(self)))
        em, raw_cost = (np.where(self.offered, values, np.nan) for values in (self.score, self.raw_cost))
        return CandidateTable(self.candidates, keys, tuple(q.data_source for q in self.questions), em, raw_cost)


# ---------------------------------------------------------------- quality and money in one figure


def full_cost(train: ScoreTable) -> float:
    """The raw cost at which cheapness is 0: the mean of the dearest candidate, in micro-USD of output."""
    return float(train.raw_cost.mean(axis=0).max())


def cheapness(raw_cost: np.ndarray, full: float) -> np.ndarray:
    """1 for nothing, 0 from `full` on; linear between, so that equal money counts the same everywhere."""
    return np.asarray(1.0 - np.minimum(raw_cost / full, 1.0) if full > 0 else np.ones_like(raw_cost))


def utility(score: np.ndarray, cheap: np.ndarray, alpha: float) -> np.ndarray:
    """(1 - alpha) score + alpha cheapness: what a router at the cost weight alpha wants most of."""
    return np.asarray((1.0 - alpha) * score + alpha * cheap)


# ---------------------------------------------------------------- parts


def split(table: ScoreTable, *, test_share: float = 0.3, seed: int = 0) -> tuple[ScoreTable, ScoreTable]:
    """Training and test part. A question's part depends on its words and the seed alone, so that the same question
    from another file, or spelled with other spaces and capitals, falls into the same part.

    Raises:
        ConfigError: one of them is empty.
    """
    drawn = np.array([_drawn(question.text, seed) for question in table.questions])
    parts = np.flatnonzero(drawn >= test_share), np.flatnonzero(drawn < test_share)
    if not all(len(part) for part in parts):
        remedy = f"too few to part at a test share of {test_share:g}"
        raise ConfigError(table.source, "question", len(table), remedy)
    return table.rows(parts[0]), table.rows(parts[1])


def _drawn(text: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{normalise_question(text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
