"""Cascade routing (Dekoninck, Baader, Vechev 2024, arXiv:2410.10347): at each step the best set of candidates that
holds those asked already; if it is just these, the best of their replies is taken, else one more of it is asked.

A set is worth its expected best quality less lambda x its cost, with a lambda for each step. A candidate's quality is
estimated from the question before it is asked, and from question and reply after. What asking may change is the spread
between the two estimates in training; the expected best of a set is the mean over draws of these spreads.

Differences from the paper: estimators are logistic regressions on the encoder's vectors; the cost of a candidate is its
mean in training; lambda is alpha / (1 - alpha) / full cost, as the utility has it, times a factor for each step; the
factors are tuned on 5 % of the training data (50 questions at least); of a set, the cheapest that is left is asked
next. Where only scores are known both estimates are the same, so that it asks one candidate, by the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np

from router_r1.methods.cascades.cascade import Decision, best_setting
from router_r1.methods.cascades.reply_features import Logistic, ReplyScorers, fit_out_of_fold
from router_r1.methods.encoders import Encoder
from router_r1.methods.saved import read_fitted, write_fitted
from router_r1.protocol import Route
from router_r1.recorded.replies import RecordedReplies
from router_r1.rollout.policy import Dispatcher
from router_r1.scores import full_cost

DEPTH = 5
TUNED_SHARE, TUNED_AT_LEAST = 0.05, 50
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_DRAWS = 64


@dataclass(frozen=True, eq=False)
class Sets:
    """Every set of at most `DEPTH` candidates, and how it is judged."""

    members: np.ndarray
    """[num_sets, num_candidates], whether the set holds the candidate."""
    raw_cost: np.ndarray
    """Mean of each candidate in training, micro-USD of output. [num_candidates]"""
    spread: np.ndarray
    """Standard deviation of what asking changes of an estimate. [num_candidates]"""
    draws: np.ndarray
    """Standard normal, the same for all questions. [num_draws, num_candidates]"""

    @classmethod
    def of(cls, raw_cost: np.ndarray, spread: np.ndarray) -> Sets:
        k = len(raw_cost)
        chosen = [columns for size in range(1, min(DEPTH, k) + 1) for columns in combinations(range(k), size)]
        members = np.zeros((len(chosen), k), dtype=bool)
        for row, columns in enumerate(chosen):
            members[row, list(columns)] = True
        return cls(members, raw_cost, spread, np.random.default_rng(0).standard_normal((_DRAWS, k)))

    def quality(self, estimate: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """Expected quality of the best member of each set; -inf for a set that does not hold all that were asked.

        Args:
            estimate: after asking where it was asked, else before. [num_candidates]
            asked: [num_candidates]
        """
        values = estimate + np.where(asked, 0.0, self.spread) * self.draws  # [num_draws, num_candidates]
        best = np.where(self.members[:, None, :], values, -np.inf).max(axis=2).mean(axis=1)
        return np.asarray(np.where(self.members[:, asked].all(axis=1), best, -np.inf))

    def next_to_ask(self, quality: np.ndarray, asked: np.ndarray, price: float) -> int | None:
        """The cheapest candidate of the best set that was not asked yet; None if the best set is what was asked.

        Args:
            quality: of each set. [num_sets]
            price: quality for a micro-USD.
        """
        best = int(np.argmax(quality - price * (self.members @ self.raw_cost)))
        left = np.flatnonzero(self.members[best] & ~asked)
        return int(left[np.argmin(self.raw_cost[left])]) if len(left) else None


def _price(alpha: float, factor: float, full: float) -> float:
    """Lambda; at alpha = 1 so high that only cost counts."""
    return factor * alpha / max(1 - alpha, 1e-6) / full if full > 0 else 0.0


class CascadeRouting:
    """See the module."""

    def check(self, train: RecordedReplies) -> None:
        """Scores are enough: it reads replies where there are some."""

    def fit(self, train: RecordedReplies, encoder: Encoder, *, seed: int) -> None:
        table = train.table()
        right, vectors = table.score > 0.5, encoder.encode(table.texts)
        fitted = [fit_out_of_fold(vectors, right[:, column], seed=seed) for column in range(len(train.candidates))]
        before = np.stack([unseen for _, unseen in fitted], axis=1)  # [num_questions, num_candidates]
        self._scorers, after = None, before
        if train.has_replies:
            replies = [[q.samples[name][0].text for q in train.questions] for name in train.candidates]
            self._scorers, after = ReplyScorers.fit(encoder, table.texts, replies, right, seed=seed)
        self.candidates, self._encoder, self._full = train.candidates, encoder, full_cost(table)
        self._before = tuple(model for model, _ in fitted)
        self._sets = Sets.of(table.raw_cost.mean(axis=0), (after - before).std(axis=0))
        drawn = np.random.default_rng(seed).permutation(len(table))
        rows = drawn[: max(TUNED_AT_LEAST, round(TUNED_SHARE * len(table)))]
        self._tuning = {
            "before": before[rows],
            "after": after[rows],
            "score": table.score[rows],
            "raw_cost": table.raw_cost[rows],
        }

    def at(self, alpha: float) -> ReadyCascadeRouting:
        prices = [_price(alpha, factor, self._full) for factor in self._factors(alpha)]
        return ReadyCascadeRouting(self.candidates, self._encoder, self._before, self._scorers, self._sets, prices)

    def _factors(self, alpha: float) -> list[float]:
        """The best factor of lambda for each step, one after another, the first ones first."""
        # Where asking teaches nothing there is nothing to decide after the first candidate.
        factors = [1.0] * (min(DEPTH, len(self.candidates)) if self._scorers else 1)
        kept: dict[tuple[int, bytes], np.ndarray] = {}

        def outcome(tried: list[float]) -> tuple[np.ndarray, np.ndarray]:
            prices = [_price(alpha, factor, self._full) for factor in tried]
            rows = [self._play(row, prices, kept) for row in range(len(self._tuning["score"]))]
            return np.array([score for score, _ in rows]), np.array([cost for _, cost in rows])

        if alpha == 0:  # money does not count
            return factors
        for step in range(len(factors)):
            tried = [[*factors[:step], factor, *factors[step + 1 :]] for factor in FACTORS]
            factors = best_setting(tried, outcome, alpha, self._full)
        return factors

    def _play(
        self, row: int, prices: Sequence[float], kept: dict[tuple[int, bytes], np.ndarray]
    ) -> tuple[float, float]:
        """Score and raw cost of one of the questions that are tuned on.

        Args:
            kept: what sets were worth, by question and who was asked: no price changes it.
        """
        estimate, asked = self._tuning["before"][row].copy(), np.zeros(len(self.candidates), dtype=bool)
        for price in prices:
            key = (row, asked.tobytes())
            if key not in kept:
                kept[key] = self._sets.quality(estimate, asked)
            column = self._sets.next_to_ask(kept[key], asked, price)
            if column is None:
                break
            asked[column], estimate[column] = True, self._tuning["after"][row, column]
        best = int(np.argmax(np.where(asked, estimate, -np.inf)))
        return float(self._tuning["score"][row, best]), float(self._tuning["raw_cost"][row, asked].sum())

    def save(self, folder: Path) -> None:
        facts = {"candidates": list(self.candidates), "full": self._full, "reads_replies": self._scorers is not None}
        arrays = {
            "before_weights": np.stack([model.weights for model in self._before]),
            "before_biases": np.array([model.bias for model in self._before]),
            "mean_cost": self._sets.raw_cost,
            "spread": self._sets.spread,
            **self._tuning,
            **(self._scorers.arrays() if self._scorers else {}),
        }
        write_fitted(folder, facts, arrays)

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        facts, arrays, _ = read_fitted(folder)
        self = cls()
        self.candidates, self._full, self._encoder = tuple(facts["candidates"]), facts["full"], encoder
        before = zip(arrays["before_weights"], arrays["before_biases"], strict=True)
        self._before = tuple(Logistic(weights, float(bias)) for weights, bias in before)
        self._scorers = ReplyScorers.of_arrays(encoder, arrays) if facts["reads_replies"] else None
        self._sets = Sets.of(arrays["mean_cost"], arrays["spread"])
        self._tuning = {name: arrays[name] for name in ("before", "after", "score", "raw_cost")}
        return self


@dataclass(frozen=True, eq=False)
class ReadyCascadeRouting:
    """Estimators, sets, and the price of money at each step. A failed route counts as a wrong reply."""

    candidates: Sequence[str]
    encoder: Encoder
    before: Sequence[Logistic]
    scorers: ReplyScorers | None
    sets: Sets
    prices: Sequence[float]

    async def decide(self, question: str, routes: Dispatcher, *, request_id: str) -> Decision:
        vectors = self.encoder.encode([question])
        estimate = np.array([float(model(vectors)[0]) for model in self.before])  # [num_candidates]
        columns: list[int] = []
        made: list[Route] = []
        for price in self.prices:
            asked = np.isin(np.arange(len(estimate)), columns)
            column = self.sets.next_to_ask(self.sets.quality(estimate, asked), asked, price)
            if column is None:
                break
            route = await routes.route(self.candidates[column], question, trajectory_id=request_id)
            columns.append(column)
            made.append(route)
            if route.failed:
                estimate[column] = 0.0
            elif self.scorers:
                estimate[column] = self.scorers(question, route.reply, column)
        there = [number for number, route in enumerate(made) if not route.failed]
        best = max(there, key=lambda number: estimate[columns[number]], default=None)
        return Decision(tuple(made), best)
