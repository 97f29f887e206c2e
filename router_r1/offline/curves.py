"""What a router's curve of cost and score is worth, in one figure each: those of RouterBench, RouteLLM and RouterArena.

Pure functions of points: a point is the mean score and the mean raw cost of a router at one cost weight. Between two
points of a router lies the one that tosses a coin between them, so that a curve is the non-decreasing concave hull of
its points (`constant_routers.upper_hull`): more money never buys less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from router_r1.constant_routers import CandidateTable, Score, upper_hull

NOBODY = Score(0.0, 0.0)
"""Asking nobody costs nothing and answers nothing: what a curve is continued with below its cheapest point."""

ARENA_BETA, ARENA_DEAREST, ARENA_CHEAPEST = 0.1, 200.0, 0.0044
"""Weight of money, and the USD per 1,000 questions between which RouterArena tells costs apart."""


def aiq(points: Sequence[Score], cheapest: float, dearest: float) -> float | None:
    """Average improvement in quality: the mean height of the curve between two costs.

    RouterBench (arXiv:2403.12031, section 3): the area under the non-decreasing convex hull of (cost, quality),
    divided by the range of cost. The range is the same for all routers, so that they compare. Above its dearest point a
    curve goes on level, below its cheapest one it is mixed with asking nobody.

    Args:
        cheapest: mean raw cost of the cheapest candidate, asked everything.
        dearest: the same of the dearest.

    Returns:
        None where the range is empty.
    """
    return _mean_height([NOBODY, *points], cheapest, dearest) if cheapest < dearest else None


def arena_score(accuracy: float, usd_per_1000: float) -> float:
    """RouterArena's score (arXiv:2510.00202): S = (1 + b) A C / (b A + C), b = 0.1.

    C falls from 1 at 0.0044 USD per 1,000 questions to 0 at 200 USD, linear in the logarithm. What is cheaper or dearer
    than these two counts as they do.

    Args:
        accuracy: A, in [0, 1].
        usd_per_1000: spend in USD for 1,000 questions.
    """
    within = min(max(usd_per_1000, ARENA_CHEAPEST), ARENA_DEAREST)
    cheap = math.log2(ARENA_DEAREST / within) / math.log2(ARENA_DEAREST / ARENA_CHEAPEST)
    below = ARENA_BETA * accuracy + cheap
    return (1 + ARENA_BETA) * accuracy * cheap / below if below else 0.0


def gap_recovered(score: float, best_constant: float, oracle: float) -> float | None:
    """(router - best constant) / (oracle - best constant): 0 for who does not look, 1 for who always finds the best.

    Returns:
        None where the oracle is no better than the best constant.
    """
    return (score - best_constant) / (oracle - best_constant) if oracle > best_constant else None


@dataclass(frozen=True, eq=False)
class WeakAndStrong:
    """The two ends of RouteLLM's figures (arXiv:2406.18665, section 2), for a pool of any size.

    Weak is the cheapest candidate, strong the one with the best mean score, the cheapest among equals: a dearer one
    that scores less is nothing to strive for. RouteLLM counts calls to the strong of two models. A call to any other
    candidate counts as its mean cost lies between theirs, (cost - weak's) / (strong's - weak's), which is the share of
    strong calls if there are two.
    """

    weak: Score
    strong: Score
    calls: np.ndarray
    """What a call to each candidate counts: 0 the weak one, 1 the strong one. [num_candidates]"""

    @classmethod
    def of(cls, table: CandidateTable) -> WeakAndStrong | None:
        """Of the questions that it is measured on; None where the cheapest candidate is the best, or as dear as it."""
        alone = table.alone
        weak = min(alone.values(), key=lambda score: (score.raw_cost, -score.em))
        strong = min(alone.values(), key=lambda score: (-score.em, score.raw_cost))
        if strong.em <= weak.em or strong.raw_cost <= weak.raw_cost:
            return None
        costs = np.array([alone[name].raw_cost if name in alone else np.nan for name in table.candidates])
        return cls(weak, strong, (costs - weak.raw_cost) / (strong.raw_cost - weak.raw_cost))

    def pgr(self, score: float) -> float:
        """Performance gap recovered: (router - weak) / (strong - weak)."""
        return (score - self.weak.em) / (self.strong.em - self.weak.em)

    def point(self, score: float, asked: np.ndarray) -> Score:
        """A point of the curve of PGR: its EM is the PGR, its cost the share of strong calls.

        Args:
            asked: columns of the candidates that each question is asked of, of which every one counts; -1 for nobody.
                [num_questions, most_routes]
        """
        return Score(self.pgr(score), float(np.append(self.calls, 0.0)[asked].sum(axis=1).mean()))


def apgr(points: Sequence[Score]) -> float:
    """Average PGR: the mean height of the curve of PGR over shares of strong calls from 0 to 1.

    A router begins at (0, 0), which is asking the weak one everything.

    Args:
        points: as `WeakAndStrong.point` makes them.
    """
    return _mean_height([Score(0.0, 0.0), *points], 0.0, 1.0)


def cpt(points: Sequence[Score], target: float) -> float | None:
    """Call-performance threshold: the smallest share of strong calls that recovers so much of the gap.

    Args:
        points: as for `apgr`.
        target: of the gap, such as 0.8.

    Returns:
        None if the router never does.
    """
    hull = upper_hull([Score(0.0, 0.0), *points])
    for low, high in pairwise(hull):
        if high.em >= target:
            share = (target - low.em) / (high.em - low.em)
            return low.raw_cost + share * (high.raw_cost - low.raw_cost)
    return None


def _mean_height(points: Sequence[Score], low: float, high: float) -> float:
    """Of the hull of the points, from one cost to another, exactly."""
    hull = upper_hull(points)
    costs, heights = [p.raw_cost for p in hull], [p.em for p in hull]
    knots = np.unique([low, high, *(cost for cost in costs if low < cost < high)])
    return float(np.trapezoid(np.interp(knots, costs, heights), knots) / (high - low))
