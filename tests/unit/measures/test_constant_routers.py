"""What a router must beat: constant routers, their hull, and the oracles, against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_r1.constant_routers import (
    Asked,
    CandidateTable,
    compare,
    constant_routers,
    frontier,
    oracle,
    oracle_by_kind,
)

NAMES = "ABCDE"


@st.composite
def tables(draw, *, whole: bool = False) -> CandidateTable:
    """Small tables with many ties; where they are not `whole`, each question offers a selection of its own."""
    candidates = NAMES[: draw(st.integers(1, 5))]
    asked = []
    for index in range(draw(st.integers(1, 6))):
        offered = candidates if whole else draw(st.sets(st.sampled_from(candidates), min_size=1))
        source, kind = draw(st.sampled_from(["nq", "popqa"])), draw(st.sampled_from(["film", "music"]))
        asked += [
            Asked((source, index), kind, name, float(draw(st.booleans())), float(draw(st.integers(0, 9))))
            for name in sorted(offered)
        ]
    return CandidateTable.of(asked)


def cells(table: CandidateTable) -> list[Asked]:
    return [
        Asked(question, table.kinds[row], name, table.em[row, column], table.raw_cost[row, column])
        for row, question in enumerate(table.questions)
        for column, name in enumerate(table.candidates)
        if not np.isnan(table.em[row, column])
    ]


def table_of(em: dict[str, list[float]], costs: dict[str, float], kinds: str = "") -> CandidateTable:
    """Candidate -> EM of question 0, 1, ... (NaN: not offered), and candidate -> cost of any question."""
    return CandidateTable.of(
        Asked(("nq", index), kinds[index] if kinds else "k", name, value, costs[name])
        for name, values in em.items()
        for index, value in enumerate(values)
        if not np.isnan(value)
    )


def points(table: CandidateTable) -> list[tuple[float, float]]:
    return [(c.raw_cost, c.em) for c in constant_routers(table)]


# ---------------------------------------------------------------- constants


def test_on_a_whole_pool_a_constant_is_one_candidate_for_every_question():
    table = table_of({"A": [1, 0, 0, 0], "B": [1, 1, 1, 0], "C": [0, 0, 1, 0]}, {"A": 1, "B": 10, "C": 5})

    found = {c.name: (c.em, c.raw_cost) for c in constant_routers(table)}

    assert found == {"A": (0.25, 1), "B": (0.75, 10)}, "C is dearer than A and no better"


def test_where_questions_offer_selections_a_constant_asks_the_most_preferred_one_offered():
    none = float("nan")
    table = table_of({"A": [1, none, 0], "B": [none, 1, 1], "C": [0, 0, none]}, {"A": 2, "B": 3, "C": 1})

    best = constant_routers(table)[0]

    assert best.order == ("B", "A", "C")
    assert (best.em, best.raw_cost) == (1.0, pytest.approx((2 + 3 + 3) / 3))


@given(tables(whole=True))
def test_the_hull_of_a_whole_pool_is_that_of_its_candidates_alone(table):
    """Brute force: between any two candidates, or one and nobody, at every cost."""
    alone = [(0.0, 0.0), *((score.raw_cost, score.em) for score in table.alone.values())]
    hull = frontier(table)
    for cost in np.linspace(0, 10, 21):
        best = max(em for c, em in alone if c <= cost)
        for (c0, e0), (c1, e1) in itertools.permutations(alone, 2):
            if c0 <= cost <= c1 and c0 < c1:
                best = max(best, e0 + (e1 - e0) * (cost - c0) / (c1 - c0))
        assert hull.em_at(cost) == pytest.approx(best)


ALIKE_BUT_FOR_ROUNDING = CandidateTable.of(
    Asked(("nq", question), "film", name, em, cost)
    for question, name, em, cost in [
        *[(0, "A", 0.0, 9.0), (0, "B", 0.0, 9.0), (0, "C", 0.0, 5.0), (1, "C", 1.0, 8.0)],
        *[(2, "A", 1.0, 8.0), (2, "B", 0.0, 5.0), (2, "C", 0.0, 8.0)],
    ]
)
"""B and C cost 7 in the mean."""


@given(tables())
@example(ALIKE_BUT_FOR_ROUNDING)
def test_the_sweep_meets_every_order_that_a_fine_grid_of_prices_meets(table):
    met = {c.order for c in constant_routers(table)}
    for lam in [*np.geomspace(1e-3, 1e3, 40) * math.pi, 0.0]:
        order = sorted(table.alone, key=lambda n: (lam * table.alone[n].raw_cost - table.alone[n].em, n))
        scores = [lam * table.alone[n].raw_cost - table.alone[n].em for n in order]
        if all(b - a > 1e-9 for a, b in itertools.pairwise(scores)):  # no ties at this price
            assert tuple(order) in met


# ---------------------------------------------------------------- the hull


@given(tables())
def test_the_hull_rises_ever_more_slowly_and_lies_below_no_constant(table):
    hull = frontier(table)
    costs, ems = [c.raw_cost for c in hull.constants], [c.em for c in hull.constants]
    slopes = [(e1 - e0) / (c1 - c0) for (c0, e0), (c1, e1) in itertools.pairwise(zip(costs, ems, strict=True))]

    assert all(slope > 0 for slope in slopes)
    assert all(later < earlier for earlier, later in itertools.pairwise(slopes))
    assert all(hull.em_above(em, cost) <= 1e-9 for cost, em in points(table))
    assert all(hull.em_at(c.raw_cost) == pytest.approx(c.em) for c in hull.constants)
    assert hull.em_at(max(costs) + 100) == max(ems)


@given(tables(), st.randoms())
def test_neither_the_order_of_questions_nor_that_of_candidates_matters(table, random):
    shuffled = cells(table)
    random.shuffle(shuffled)
    other = CandidateTable.of(shuffled)

    assert constant_routers(other) == constant_routers(table)
    assert frontier(other) == frontier(table)
    assert (oracle(other), oracle_by_kind(other)) == (oracle(table), oracle_by_kind(table))


def test_below_the_cheapest_constant_the_mixture_is_with_asking_nobody():
    table = table_of({"A": [1, 1, 1, 0]}, {"A": 10})

    assert frontier(table).em_at(4) == pytest.approx(0.4 * 0.75)
    assert frontier(table, nobody_em=0.25).em_at(4) == pytest.approx(0.6 * 0.25 + 0.4 * 0.75)
    assert frontier(table, nobody_em=0.9).em_at(50) == 0.9, "whom asking only costs is not asked"


def test_a_candidate_that_costs_nothing_is_had_for_nothing():
    assert frontier(table_of({"A": [1, 0]}, {"A": 0})).em_at(0) == 0.5


def test_a_router_on_the_line_between_two_constants_is_no_better_than_tossing_a_coin():
    table = table_of({"A": [1, 0, 0, 0], "B": [1, 1, 1, 0]}, {"A": 1, "B": 11})

    assert frontier(table).em_above(em=0.5, raw_cost=6) == pytest.approx(0)
    assert frontier(table).em_above(em=0.8, raw_cost=6) == pytest.approx(0.3)
    assert frontier(table).em_above(em=0.75, raw_cost=20) == pytest.approx(0)


# ---------------------------------------------------------------- oracles


@given(tables())
def test_no_router_that_looks_at_the_question_beats_the_oracle(table):
    """Brute force: every way to ask one offered candidate per question."""
    offered = [np.flatnonzero(~np.isnan(row)) for row in table.em]
    ways = itertools.islice(itertools.product(*offered), 500)
    scores = [table.score_of(np.array(way)) for way in ways]
    best = oracle(table)

    assert all(score.em <= best.em + 1e-9 for score in scores)
    assert all(score.raw_cost >= best.raw_cost - 1e-9 for score in scores if score.em >= best.em - 1e-9)


@given(tables(whole=True))
def test_on_a_whole_pool_the_oracle_by_kind_is_the_best_candidate_of_each_kind(table):
    best = 0.0
    for way in itertools.product(range(len(table.candidates)), repeat=2):
        column_of = dict(zip(("film", "music"), way, strict=True))
        own = [table.rows([n for n, k in enumerate(table.kinds) if k == kind]) for kind in column_of]
        # A kind's means weigh its own data sources alike, as every mean does.
        if all(
            len(part) == 0 or part.alone[table.candidates[c]].em == max(score.em for score in part.alone.values())
            for part, c in zip(own, way, strict=True)
        ):
            best = max(best, table.score_of(np.array([column_of[kind] for kind in table.kinds])).em)
    assert oracle_by_kind(table).em <= oracle(table).em + 1e-9
    assert oracle_by_kind(table).em <= best + 1e-9


def test_the_oracles_of_a_pool_of_two_specialists():
    em = {"Film-7B": [1, 1, 0, 0, 0], "Music-7B": [0, 0, 1, 0, 1]}
    table = table_of(em, {"Film-7B": 2, "Music-7B": 1}, kinds="ffmmf")

    best, by_kind = oracle(table), oracle_by_kind(table)

    assert (best.em, best.raw_cost) == (pytest.approx(0.8), pytest.approx((2 + 2 + 1 + 1 + 1) / 5)), "all wrong: cheap"
    assert (by_kind.em, by_kind.raw_cost) == (pytest.approx(0.6), pytest.approx((2 + 2 + 1 + 1 + 2) / 5))


# ---------------------------------------------------------------- a router beside them


def test_a_router_is_compared_on_the_questions_that_both_were_asked():
    table = table_of({"A": [1, 0, 0, 0], "B": [1, 1, 1, 0]}, {"A": 1, "B": 11})
    answers = [(("nq", 0), 1.0, 1.0), (("nq", 1), 1.0, 11.0), (("nq", 1), 0.0, 1.0), (("nq", 99), 1.0, 500.0)]

    found = compare(table, answers)

    assert found is not None
    assert (found.router.em, found.router.raw_cost, found.num_questions) == (0.75, 3.5, 2)
    metrics = found.as_metrics()
    assert metrics["best_constant_em"] == pytest.approx(0.5 + 0.5 * 2.5 / 10)
    assert metrics["em_above_constant"] == pytest.approx(0.25 - 0.125)
    assert (metrics["oracle_em"], metrics["regret"]) == (1.0, 0.25)
    assert compare(table, [(("nq", 99), 1.0, 1.0)]) is None


def test_each_data_source_weighs_the_same():
    asked = [Asked(("nq", i), "k", "A", 1.0, 4.0) for i in range(3)] + [Asked(("popqa", 0), "k", "A", 0.0, 8.0)]
    answers = [(one.question, one.em, one.raw_cost) for one in asked]

    found = compare(CandidateTable.of(asked), answers)

    assert found is not None
    assert (found.router.em, found.router.raw_cost) == (pytest.approx(0.5), pytest.approx(6.0))
    assert found.as_metrics()["em_above_constant"] == pytest.approx(0)


@given(tables())
def test_a_constant_is_never_above_the_constants_and_has_the_regret_that_is_left_to_the_oracle(table):
    for constant in constant_routers(table):
        column = {name: number for number, name in enumerate(table.candidates)}
        answers = []
        for row, question in enumerate(table.questions):
            asked = next(column[name] for name in constant.order if not np.isnan(table.em[row, column[name]]))
            answers.append((question, table.em[row, asked], table.raw_cost[row, asked]))
        found = compare(table, answers)
        assert found is not None
        metrics = found.as_metrics()
        assert metrics["em_above_constant"] <= 1e-9
        assert metrics["regret"] >= -1e-9
