"""What a router must beat, and what it cannot: methods that learn nothing of a question's words.

They are rows of the same table as fitted routers. Two of them have seen the scores of the test questions, which no
router has: the oracle, and the best constant at each cost. One is told a question's data set, which no router is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from router_r1.constant_routers import asked_by_oracle, constant_routers, first_offered, frontier
from router_r1.methods.single_round import chosen
from router_r1.offline.parts import Choice, Part
from router_r1.scores import cheapness, full_cost, utility

Choose = Callable[[Part, Sequence[float]], list[Choice]]
"""(questions, cost weights) -> whom it asks."""

ALONE = "alone/"
"""Begins the names of candidates alone: `alone/Qwen2.5-7B-Instruct`."""


@dataclass(frozen=True)
class Bound:
    """A method without anything to fit."""

    title: str
    choose: Choose
    privileged: bool = False
    """It knows what no router is told: the test questions' scores, or their data sets."""


BOUND_ROUTERS = ("random", "best-constant", "cheapest", "dearest", "per-data-set")
"""Bounds that are routers like any other, by their names in `ROUTERS`: they need no test scores, and are told no more
than the question. They are in every table, among the bounds."""


def bounds(candidates: Sequence[str]) -> dict[str, Bound]:
    """The other bounds of a pool, by name."""
    return {
        **{f"{ALONE}{name}": Bound(f"{name} alone", _alone(column)) for column, name in enumerate(candidates)},
        "told-data-set": Bound("Constant per data set, told which", _told_data_set, privileged=True),
        "constant-at-cost": Bound("Best constant at equal cost", _constants_on_hull, privileged=True),
        "oracle": Bound("Oracle", _oracle, privileged=True),
    }


def _mean_costs(part: Part) -> np.ndarray:
    return np.asarray(part.train.raw_cost.mean(axis=0))


def _alone(column: int) -> Choose:
    """One candidate for every question; where it is not offered, the best of those that are."""

    def choose(part: Part, alphas: Sequence[float]) -> list[Choice]:
        worth = part.train.score.mean(axis=0)
        worth[column] = 2.0
        return [
            Choice.of_one(None, part.test, chosen(np.broadcast_to(worth, part.test.score.shape), part.test.offered))
        ]

    return choose


def _told_data_set(part: Part, alphas: Sequence[float]) -> list[Choice]:
    """The candidate with the best mean utility in training on questions of the same data set; where there are none, on
    all of them."""
    cheap = cheapness(_mean_costs(part), full_cost(part.train))
    sources = np.array([question.data_source for question in part.train.questions])
    worth = {str(name): part.train.score[sources == name].mean(axis=0) for name in np.unique(sources)}
    overall = part.train.score.mean(axis=0)
    rows = np.array([worth.get(question.data_source, overall) for question in part.test.questions])
    return [Choice.of_one(a, part.test, chosen(utility(rows, cheap, a), part.test.offered)) for a in alphas]


def _constants_on_hull(part: Part, alphas: Sequence[float]) -> list[Choice]:
    """The corners of the hull of constants, the best one first."""
    table = part.test.as_candidate_table()
    corners = [corner for corner in frontier(table).constants if corner.order]
    corners = corners or constant_routers(table)[:1]  # of scores that are all 0 nothing beats asking nobody
    return [Choice.of_one(None, part.test, first_offered(table, corner.order)) for corner in reversed(corners)]


def _oracle(part: Part, alphas: Sequence[float]) -> list[Choice]:
    """Of a question's best utility the cheapest candidate; at cost weight 0 it is `constant_routers.oracle`."""
    full, table = full_cost(part.train), part.test.as_candidate_table()
    worth = {alpha: utility(table.em, cheapness(table.raw_cost, full), alpha) for alpha in alphas}
    return [Choice.of_one(alpha, part.test, asked_by_oracle(replace(table, em=worth[alpha]))) for alpha in alphas]
