"""The picture of all methods: who is on the front, what lies above what, and where it is drawn."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_r1.benchmark.field import ORACLE, ROUTER, Field, FieldMethod, Point, place
from router_r1.constant_routers import Constant, Frontier, Score, pareto_front

COSTS = st.just(0.0) | st.floats(1e-6, 1e3)
POINTS = st.lists(st.builds(Score, st.floats(0, 1), COSTS), min_size=1)


def method(title: str, *points: tuple[float, float], kind: str = ROUTER) -> FieldMethod:
    return FieldMethod(title, kind, [Point(em, cost, f"{title} at {cost}") for em, cost in points], [0])


def test_the_front_is_what_no_other_beats_by_hand():
    points = [Score(0.5, 3), Score(0.2, 1), Score(0.1, 2), Score(0.4, 3), Score(0.5, 9)]
    assert pareto_front(points) == [Score(0.2, 1), Score(0.5, 3)]


@given(POINTS)
def test_every_method_is_on_the_front_or_beaten_by_one_that_is(points):
    front = pareto_front(points)
    assert all(any(f.raw_cost <= p.raw_cost and f.em >= p.em for f in front) for p in points)
    assert all(a.raw_cost < b.raw_cost and a.em < b.em for a, b in itertools.pairwise(front))


def test_what_knows_more_than_a_router_is_not_on_the_front():
    field = Field([method("a", (0.2, 1), (0.5, 3)), method("oracle", (0.9, 1), kind=ORACLE)])
    assert [(p.em, p.raw_cost) for p in field.front] == [(0.2, 1), (0.5, 3)]


def test_the_line_of_constants_is_the_mean_over_seeds_where_something_is_shown():
    hulls = [Frontier((Constant(0, 0, ()), Constant(em, 4, ("a",)))) for em in (0.4, 0.8)]
    line = Field([method("a", (0.2, 1), (0.5, 3))], hulls).hull
    assert (line[0].raw_cost, line[-1].raw_cost) == (1, 3)
    assert (line[0].em, line[-1].em) == (pytest.approx(0.15), pytest.approx(0.45))


@pytest.mark.parametrize(("costs", "bend"), [((1, 19), None), ((1, 20), 1), ((0, 2, 40), 2), ((0, 0), None)])
def test_the_axis_is_logarithmic_where_costs_differ_much(costs, bend):
    assert Field([method("a", *((0.5, cost) for cost in costs))]).bend == bend


@given(POINTS)
def test_everything_is_drawn_within_the_axes_and_dearer_is_further_right(points):
    picture = place(Field([method("a", *((p.em, p.raw_cost) for p in points))]))
    marks = picture.curves[0].marks
    assert all(picture.left <= mark.x <= picture.right and picture.top <= mark.y <= picture.bottom for mark in marks)
    for (p, at), (q, there) in itertools.permutations(zip(points, marks, strict=True), 2):
        assert p.raw_cost >= q.raw_cost or at.x <= there.x
        assert p.em >= q.em or at.y >= there.y
    assert len(picture.x_ticks) <= 20
