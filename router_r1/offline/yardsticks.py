"""What the test questions of one seed let anybody reach, and what a router lies above it, question by question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from router_r1.constant_routers import CandidateTable, Frontier, Score, first_offered, frontier, oracle
from router_r1.offline.curves import WeakAndStrong
from router_r1.offline.parts import Choice, Part, of_asked


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Constants and oracle of the test questions."""

    part: Part
    table: CandidateTable
    hull: Frontier
    oracle: Score
    ends: WeakAndStrong | None
    corner_scores: np.ndarray
    """Of each corner of the hull, 0 for asking nobody. [num_corners, num_test]"""
    corner_costs: np.ndarray
    """The same in micro-USD of output."""

    @classmethod
    def of(cls, part: Part) -> Yardstick:
        table, test = part.test.as_candidate_table(), part.test
        hull = frontier(table)
        scores = np.zeros((len(hull.constants), len(test)))
        costs = np.zeros_like(scores)
        for number, corner in enumerate(hull.constants):
            if corner.order:
                asked = first_offered(table, corner.order)
                scores[number], costs[number] = of_asked(test.score, asked), of_asked(test.raw_cost, asked)
        return cls(part, table, hull, oracle(table), WeakAndStrong.of(table), scores, costs)

    @property
    def cost_range(self) -> tuple[float, float]:
        """Mean raw cost of the cheapest and of the dearest candidate, each asked everything."""
        costs = [score.raw_cost for score in self.table.alone.values()]
        return min(costs), max(costs)

    def above_best_constant(self, choice: Choice) -> np.ndarray:
        """Score of each question less that of the best constant, whatever the two cost. [num_test]"""
        return np.asarray(choice.score - self.corner_scores[-1])

    def above_constant(self, choice: Choice) -> np.ndarray:
        """Score of each question less that of the mixture of two constants that costs as much in the mean. [num_test]

        The mean is what the router lies above the hull. What a question costs more or less than with the mixture is
        turned into score at the price that the hull has there (its slope), so that drawing questions anew, which moves
        both costs, compares the two at equal cost again.
        """
        scores, costs = choice.score, choice.raw_cost
        corners = self.hull.constants
        high = int(np.searchsorted([corner.raw_cost for corner in corners], costs.mean(), side="right"))
        if high == len(corners):  # more money buys nothing
            return np.asarray(scores - self.corner_scores[-1])
        low, run = high - 1, corners[high].raw_cost - corners[high - 1].raw_cost
        slope = (corners[high].em - corners[low].em) / run
        share = (costs.mean() - corners[low].raw_cost) / run
        mixed = (1 - share) * self.corner_scores[low] + share * self.corner_scores[high]
        paid = (1 - share) * self.corner_costs[low] + share * self.corner_costs[high]
        return np.asarray((scores - mixed) - slope * (costs - paid))
