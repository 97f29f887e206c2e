"""The picture of all methods: who is on the front."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from router_r1.benchmark.plots import FieldPoint
from router_r1.constant_routers import pareto_front

POINTS = st.lists(st.builds(FieldPoint, st.floats(0, 1), st.floats(0, 9), st.sampled_from("abc")), min_size=1)


def test_the_front_is_what_no_other_beats_by_hand():
    points = [FieldPoint(0.5, 3, "a"), FieldPoint(0.2, 1, "b"), FieldPoint(0.1, 2, "c")]
    points += [FieldPoint(0.4, 3, "d", 0.4), FieldPoint(0.5, 9, "e")]
    assert [point.method for point in pareto_front(points)] == ["b", "a"]


@given(POINTS)
def test_every_method_is_on_the_front_or_beaten_by_one_that_is(points):
    front = pareto_front(points)
    assert all(any(f.raw_cost <= p.raw_cost and f.em >= p.em for f in front) for p in points)
    assert all(a.raw_cost < b.raw_cost and a.em < b.em for a, b in itertools.pairwise(front))
