"""One-figure measures of a curve, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.constant_routers import Asked, CandidateTable, Score, frontier
from router_r1.offline.curves import (
    WeakAndStrong,
    aiq,
    apgr,
    arena_score,
    cpt,
    gap_recovered,
)


def table_of(em: dict[str, float], costs: dict[str, float]) -> CandidateTable:
    """Ten questions, of which each candidate answers the first so many."""
    return CandidateTable.of(
        Asked(("nq", index), "k", name, float(index < 10 * em[name]), costs[name]) for name in em for index in range(10)
    )


def test_aiq_is_the_mean_height_of_the_hull_between_the_cheapest_and_the_dearest():
    # From (2, .4) a straight line to (6, .8), then level to 10: (4 * .6 + 4 * .8) / 8.
    assert aiq([Score(0.4, 2.0), Score(0.8, 6.0)], 2.0, 10.0) == pytest.approx(0.7)
    # A point below that line changes nothing; nor does one that is dearer and worse.
    assert aiq([Score(0.4, 2.0), Score(0.5, 4.0), Score(0.8, 6.0), Score(0.7, 9.0)], 2.0, 10.0) == pytest.approx(0.7)


def test_below_its_cheapest_point_a_curve_is_mixed_with_asking_nobody():
    # (0, 0) to (4, .8), that is .4 at 2 and .8 at 4; level from there to 6: (2 * .6 + 2 * .8) / 4.
    assert aiq([Score(0.8, 4.0)], 2.0, 6.0) == pytest.approx(0.7)


def test_aiq_is_not_defined_where_all_candidates_cost_the_same():
    assert aiq([Score(0.8, 4.0)], 4.0, 4.0) is None


def test_aiq_of_the_hull_of_constants_is_the_mean_of_the_best_constant_at_each_cost():
    hull = frontier(table_of({"small": 0.4, "large": 0.6, "huge": 0.8}, {"small": 1, "large": 4, "huge": 5}))
    grid = np.linspace(1, 5, 4001)
    assert aiq(hull.constants, 1, 5) == pytest.approx(np.mean([hull.em_at(cost) for cost in grid]), abs=1e-4)


@pytest.mark.parametrize(
    ("accuracy", "usd", "score"),
    [
        (0.7, 0.0044, 1.1 * 0.7 / (0.07 + 1)),  # C = 1
        (0.7, 200.0, 0.0),  # C = 0
        (0.7, (200 * 0.0044) ** 0.5, 1.1 * 0.7 * 0.5 / (0.07 + 0.5)),  # half-way in the logarithm
        (0.7, 0.0, 1.1 * 0.7 / (0.07 + 1)),  # cheaper than the cheapest counts as it does
        (0.7, 1000.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.0044, 1.0),
        (0.0, 200.0, 0.0),
    ],
)
def test_the_score_of_routerarena(accuracy, usd, score):
    assert arena_score(accuracy, usd) == pytest.approx(score)


def test_the_score_of_routerarena_at_ten_cents():
    # log2(200 / .1) = 10.9658, log2(200 / .0044) = 15.4721, C = .70875; 1.1 * .65 * .70875 / (.065 + .70875)
    assert arena_score(0.65, 0.1) == pytest.approx(0.65494, abs=1e-5)


def test_the_share_of_the_oracle_gap():
    assert gap_recovered(0.65, 0.6, 0.8) == pytest.approx(0.25)
    assert gap_recovered(0.55, 0.6, 0.8) == pytest.approx(-0.25)
    assert gap_recovered(0.6, 0.6, 0.6) is None


def test_weak_is_the_cheapest_and_strong_the_best_not_the_dearest():
    ends = WeakAndStrong.of(
        table_of(
            {"small": 0.4, "middle": 0.5, "best": 0.8, "dear": 0.7}, {"small": 1, "middle": 2, "best": 5, "dear": 9}
        )
    )
    assert ends is not None
    assert (ends.weak.em, ends.strong.em) == pytest.approx((0.4, 0.8))
    # In alphabetical order: best, dear, middle, small.
    assert ends.calls == pytest.approx([1.0, 2.0, 0.25, 0.0])
    assert ends.pgr(0.7) == pytest.approx(0.75)
    assert ends.point(0.7, np.array([[0], [0], [3], [2]])).raw_cost == pytest.approx((1 + 1 + 0 + 0.25) / 4)


def test_between_two_candidates_calls_are_counted_whatever_each_costs():
    ends = WeakAndStrong.of(table_of({"strong": 0.9, "weak": 0.5}, {"strong": 30.0, "weak": 0.6}))
    assert ends is not None
    assert ends.point(0.7, np.array([[0], [1], [1], [1]])) == Score(pytest.approx(0.5), pytest.approx(0.25))


def test_there_is_no_gap_to_recover_where_the_cheapest_is_the_best():
    assert WeakAndStrong.of(table_of({"small": 0.8, "large": 0.5}, {"small": 1, "large": 2})) is None
    assert WeakAndStrong.of(table_of({"small": 0.5, "large": 0.8}, {"small": 1, "large": 1})) is None


def test_apgr_is_the_area_under_the_curve_of_pgr():
    by_lot = [Score(0.0, 0.0), Score(1.0, 1.0)]
    assert apgr(by_lot) == pytest.approx(0.5)
    # Half of the calls recover .8: two triangles and what is under the second, .5 * .4 + .5 * .9.
    assert apgr([*by_lot, Score(0.8, 0.5)]) == pytest.approx(0.65)
    assert apgr([Score(1.0, 1.0)]) == pytest.approx(0.5)  # it may ask the weak one for all the rest
    assert apgr([Score(1.2, 0.0)]) == pytest.approx(1.2)  # better than strong for nothing
    assert apgr([Score(-0.5, 0.3)]) == 0.0
    assert apgr([Score(2.0, 2.0)]) == pytest.approx(0.5)  # what is dearer than strong counts up to strong's cost only


def test_cpt_is_where_the_curve_first_reaches_the_target():
    curve = [Score(0.0, 0.0), Score(0.8, 0.5), Score(1.0, 1.0)]
    assert cpt(curve, 0.5) == pytest.approx(0.5 * 0.5 / 0.8)
    assert cpt(curve, 0.8) == pytest.approx(0.5)
    assert cpt(curve, 0.9) == pytest.approx(0.75)
    assert cpt([Score(0.4, 0.5)], 0.5) is None


points_of_curves = st.lists(st.builds(Score, st.floats(0, 1), st.floats(0.5, 9.0)), min_size=1, max_size=6)


@given(points_of_curves, st.builds(Score, st.floats(0, 1), st.floats(0.5, 9.0)))
def test_another_point_never_makes_a_curve_worse(points, another):
    assert aiq([*points, another], 1.0, 8.0) >= aiq(points, 1.0, 8.0) - 1e-9
    assert apgr([*points, another]) >= apgr(points) - 1e-9


@given(points_of_curves)
def test_aiq_lies_between_nothing_and_the_best_point(points):
    assert 0 <= aiq(points, 1.0, 8.0) <= max(point.em for point in points) + 1e-9
