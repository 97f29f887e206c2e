"""What a router must beat: the best that can be had for the same money by asking without looking at the question.

A policy whose routes all go to one candidate has a good EM if that candidate is good, and so has one that routes well;
the difference is what the router's EM lies above the best constant router of the same mean cost. Pure functions of a
table: what every candidate would have answered to every question.

A *constant* router is a fixed order of preference over the candidates; it asks the most preferred one that a question
offers. Where every question offers the whole pool it is one candidate for all. The orders are those by

    score(candidate) = mean EM - lam x mean raw cost, each over the candidate's own questions,

for every lam from 0 up at which the order changes; where every question offers the whole pool, the first ones of these
orders are exactly the candidates on the hull below. Between two constants lies the mixture that asks one of them for a
share of the questions drawn by lot: the best EM at a mean cost is the upper concave hull of the constants' (cost, EM)
points (RouterBench's non-decreasing convex hull; Hu et al. 2024, arXiv:2403.12031). Below the cheapest one
the mixture is with asking nobody, and above the best one more money buys nothing.

Constants and oracles are chosen on the very questions that they are measured on, which flatters them, not the router.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

BEST_CONSTANT_EM, EM_ABOVE_CONSTANT = "best_constant_em", "em_above_constant"
ORACLE_EM, REGRET, KIND_ORACLE_EM, KIND_REGRET = "oracle_em", "regret", "kind_oracle_em", "kind_regret"
"""What the measures are called wherever they are written down."""

COLUMNS = {
    "best constant at that cost": BEST_CONSTANT_EM,
    "EM above it": EM_ABOVE_CONSTANT,
    "oracle by kind": KIND_ORACLE_EM,
    "oracle": ORACLE_EM,
    "regret": REGRET,
}
"""Heading in a table -> measure."""

Key = tuple[str, int]
"""Data source and index of a question."""


@dataclass(frozen=True)
class Asked:
    """One question, asked of one candidate."""

    question: Key
    kind: str
    candidate: str
    em: float
    raw_cost: float


@dataclass(frozen=True)
class Score:
    """Mean EM and mean raw cost (micro-USD of output) over questions; each data source weighs the same."""

    em: float
    raw_cost: float


@dataclass(frozen=True)
class Constant(Score):
    """A router that does not look at the question."""

    order: tuple[str, ...]
    """The candidates, the most preferred first; () asks nobody."""

    @property
    def name(self) -> str:
        return self.order[0] if self.order else "nobody"


@dataclass(frozen=True, eq=False)
class CandidateTable:
    """What every candidate would have answered to every question that offers it; each question offers at least one."""

    candidates: tuple[str, ...]
    questions: tuple[Key, ...]
    kinds: tuple[str, ...]
    """[num_questions]"""
    em: np.ndarray
    """[num_questions, num_candidates], NaN where the question does not offer the candidate."""
    raw_cost: np.ndarray
    """The same in micro-USD of output."""

    @classmethod
    def of(cls, asked: Iterable[Asked]) -> CandidateTable:
        """The table of what was asked; of a pair that occurs twice, the last."""
        cells = {(one.question, one.candidate): one for one in asked}
        kinds = {question: one.kind for (question, _), one in cells.items()}
        row_of = {question: number for number, question in enumerate(kinds)}
        column_of = {name: number for number, name in enumerate(sorted({name for _, name in cells}))}
        em = np.full((len(row_of), len(column_of)), np.nan)
        raw_cost = em.copy()
        for (question, name), one in cells.items():
            place = row_of[question], column_of[name]
            em[place], raw_cost[place] = one.em, one.raw_cost
        return cls(tuple(column_of), tuple(kinds), tuple(kinds.values()), em, raw_cost)

    def __len__(self) -> int:
        return len(self.questions)

    def rows(self, numbers: Sequence[int]) -> CandidateTable:
        """Some of its questions."""
        return CandidateTable(
            self.candidates,
            tuple(self.questions[n] for n in numbers),
            tuple(self.kinds[n] for n in numbers),
            self.em[numbers],
            self.raw_cost[numbers],
        )

    @cached_property
    def weights(self) -> np.ndarray:
        """[num_questions], with a sum of 1: the same for each data source, and within one for each question."""
        sizes = Counter(source for source, _ in self.questions)
        return np.array([1 / (len(sizes) * sizes[source]) for source, _ in self.questions])

    @cached_property
    def offered(self) -> np.ndarray:
        """[num_questions, num_candidates], whether the question offers the candidate."""
        return np.asarray(~np.isnan(self.em))

    @cached_property
    def alone(self) -> dict[str, Score]:
        """Each candidate that is offered at all, over the questions that offer it."""
        found = {}
        for column, name in enumerate(self.candidates):
            own = np.flatnonzero(self.offered[:, column])
            if len(own):
                total = _exact_sum(self.weights[own])
                em = _exact_sum(self.weights[own] * self.em[own, column]) / total
                found[name] = Score(em, _exact_sum(self.weights[own] * self.raw_cost[own, column]) / total)
        return found

    def score_of(self, asked: np.ndarray) -> Score:
        """Of whoever asks these candidates.

        Args:
            asked: the column of the candidate that each question is asked of. [num_questions]
        """
        every = np.arange(len(self))
        em = _exact_sum(self.weights * self.em[every, asked])
        return Score(em, _exact_sum(self.weights * self.raw_cost[every, asked]))


def _exact_sum(values: np.ndarray) -> float:
    """The order of the questions must not decide between equals."""
    return math.fsum(values.tolist())


@dataclass(frozen=True)
class Frontier:
    """The best EM that constant routers and mixtures of them have at a mean cost."""

    constants: tuple[Constant, ...]
    """The corners of the hull, from asking nobody up; EM and cost both rise, EM ever more slowly."""

    def em_at(self, raw_cost: float) -> float:
        """The best EM at this mean cost."""
        costs, ems = [c.raw_cost for c in self.constants], [c.em for c in self.constants]
        return float(np.interp(raw_cost, costs, ems))

    def em_above(self, em: float, raw_cost: float) -> float:
        """What a router's EM lies above the best constant's at the router's mean cost; below it, negative."""
        return em - self.em_at(raw_cost)

    def as_metrics(self, em: float, raw_cost: float) -> dict[str, float]:
        """Of a router with this EM and mean cost, by name."""
        return {BEST_CONSTANT_EM: self.em_at(raw_cost), EM_ABOVE_CONSTANT: self.em_above(em, raw_cost)}


def constant_routers(table: CandidateTable) -> list[Constant]:
    """All orders of preference that the sweep over lam meets, the dearest first."""
    found: dict[tuple[str, ...], Constant] = {}
    for lam in _sweep(list(table.alone.values())):
        order = tuple(sorted(table.alone, key=lambda name: _preference(name, table.alone[name], lam)))
        if order not in found:
            score = table.score_of(first_offered(table, order))
            found[order] = Constant(score.em, score.raw_cost, order)
    return list(found.values())


def _sweep(scores: Sequence[Score]) -> list[float]:
    """A lam from each interval in which no two candidates change places."""
    crossings = {
        (a.em - b.em) / (a.raw_cost - b.raw_cost)
        for a in scores
        for b in scores
        # Means that differ by rounding alone would cross at a price beyond all others, and hide the orders before it.
        if a.raw_cost > b.raw_cost and a.em > b.em and not math.isclose(a.raw_cost, b.raw_cost)
    }
    ends = [0.0, *sorted(crossings)]
    return [*((low + high) / 2 for low, high in itertools.pairwise(ends)), 2 * ends[-1] + 1]


def _preference(name: str, score: Score, lam: float) -> tuple[float, float, str]:
    """What candidates are sorted by; among equals the cheapest comes first."""
    return lam * score.raw_cost - score.em, score.raw_cost, name


def first_offered(table: CandidateTable, order: Sequence[str]) -> np.ndarray:
    """The column of the most preferred candidate that each question offers. [num_questions]"""
    column_of = {name: number for number, name in enumerate(table.candidates)}
    columns = np.array([column_of[name] for name in order])
    return np.asarray(columns[table.offered[:, columns].argmax(axis=1)])


def frontier(table: CandidateTable, *, nobody_em: float = 0.0) -> Frontier:
    """The hull of the table's constants.

    Args:
        nobody_em: EM of a policy that asks nobody, where it is known; 0 otherwise.
    """
    points = [Constant(nobody_em, 0.0, ()), *constant_routers(table)]
    return Frontier(upper_hull(sorted(points, key=lambda point: point.order)))


_Point = TypeVar("_Point", bound=Score)


def upper_hull(points: Iterable[_Point]) -> tuple[_Point, ...]:
    """The corners of the non-decreasing concave hull of points, the cheapest first: the best EM that mixtures of them
    by lot have at a mean cost. Of points in the same place it keeps the first."""
    hull: list[_Point] = []
    for point in sorted(points, key=lambda p: (p.raw_cost, -p.em)):
        if hull and point.em <= hull[-1].em:
            continue  # dearer and no better
        if hull and point.raw_cost == hull[-1].raw_cost:
            hull.pop()
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return tuple(hull)


def pareto_front(points: Iterable[_Point]) -> list[_Point]:
    """The points that no other beats, the cheapest first: each has a better EM than all that cost no more."""
    front: list[_Point] = []
    for point in sorted(points, key=lambda p: (p.raw_cost, -p.em)):
        if not front or point.em > front[-1].em:
            front.append(point)
    return front


def _slope(low: Score, high: Score) -> float:
    return (high.em - low.em) / (high.raw_cost - low.raw_cost)


def oracle(table: CandidateTable) -> Score:
    """Of a router that knows the best candidate for each question; among equals it asks the cheapest.

    It asks one candidate, once: a router that asks several, or a question of several hops in parts, can be better.
    """
    return table.score_of(asked_by_oracle(table))


def asked_by_oracle(table: CandidateTable) -> np.ndarray:
    """The column of the candidate that the oracle asks. [num_questions]"""
    is_best = table.em == np.nanmax(table.em, axis=1, keepdims=True)  # never where it is NaN
    return np.asarray(np.where(is_best, table.raw_cost, np.inf).argmin(axis=1))


def oracle_by_kind(table: CandidateTable) -> Score:
    """Of a router that sees of a question only its kind, and asks the offered candidate with the best mean EM for it.

    The means are of the very questions that it is measured on. Where each question offers another selection few
    questions stand behind each of them, and they flatter it.
    """
    asked = np.zeros(len(table), dtype=int)
    for kind in set(table.kinds):
        numbers = [n for n, other in enumerate(table.kinds) if other == kind]
        own = table.rows(numbers)
        order = sorted(own.alone, key=lambda name: _preference(name, own.alone[name], 0.0))
        asked[numbers] = first_offered(own, order)
    return table.score_of(asked)


@dataclass(frozen=True)
class Comparison:
    """A router beside the constants and oracles of the same questions."""

    router: Score
    num_questions: int
    best_constant_em: float  # at the router's mean cost
    oracle: Score
    oracle_by_kind: Score

    def as_metrics(self) -> dict[str, float]:
        """The measures by name; those of the router itself are not among them."""
        return {
            BEST_CONSTANT_EM: self.best_constant_em,
            EM_ABOVE_CONSTANT: self.router.em - self.best_constant_em,
            ORACLE_EM: self.oracle.em,
            REGRET: self.oracle.em - self.router.em,
            KIND_ORACLE_EM: self.oracle_by_kind.em,
            KIND_REGRET: self.oracle_by_kind.em - self.router.em,
        }


def described(table: CandidateTable) -> dict[str, object]:
    """What can be had by asking one candidate each, as JSON types: each alone, the hull, and the oracles."""
    hull = [{"first": c.name, "em": c.em, "raw_cost": c.raw_cost} for c in frontier(table).constants]
    return {
        "num_questions": len(table),
        "candidates": {name: vars(score) for name, score in table.alone.items()},
        "hull": hull,
        "oracle": vars(oracle(table)),
        "oracle_by_kind": vars(oracle_by_kind(table)),
    }


def compare(table: CandidateTable, answers: Sequence[tuple[Key, float, float]]) -> Comparison | None:
    """A router beside the constants, on the questions that both were asked; None if there are none.

    Args:
        answers: question, EM and raw cost of every trajectory of the router.
    """
    number_of = {question: number for number, question in enumerate(table.questions)}
    numbers = sorted({number_of[question] for question, _, _ in answers if question in number_of})
    if not numbers:
        return None
    common = table.rows(numbers)
    trajectories = Counter(question for question, _, _ in answers)
    weight_of = dict(zip(common.questions, common.weights, strict=True))
    weighted = [
        (weight_of[question] / trajectories[question], em, cost)
        for question, em, cost in answers
        if question in weight_of
    ]
    router = Score(
        math.fsum(weight * em for weight, em, _ in weighted), math.fsum(weight * cost for weight, _, cost in weighted)
    )
    best = frontier(common).em_at(router.raw_cost)
    return Comparison(router, len(common), best, oracle(common), oracle_by_kind(common))
