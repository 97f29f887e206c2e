"""An offline benchmark's field: candidates alone, bounds, routers."""

from __future__ import annotations

from router_r1.benchmark.field import BOUND, CANDIDATE, ORACLE, ROUTER, Field, FieldMethod, Point
from router_r1.constant_routers import Score
from router_r1.offline import results as found
from router_r1.offline.bounds import ALONE
from router_r1.offline.evaluation import ABOVE_CONSTANT, SCORE
from router_r1.offline.results import MethodResult, OfflineResults

_UNSHOWN = ("constant-at-cost", "cheapest", "dearest")  # the dashed line, and twice the candidates


def field_of(results: OfflineResults) -> Field:
    """What is shown of it; row n of the table is method n."""
    shown, beside = [], []
    for row, method in enumerate(results.methods):
        points = _points(method)
        if method.name not in _UNSHOWN:
            shown.append(FieldMethod(method.title, _kind(method), points, [row]))
        elif not method.privileged:
            beside += points
    return Field(shown, results.hulls, beside)


def _kind(method: MethodResult) -> str:
    if method.name.startswith(ALONE):
        return CANDIDATE
    if method.kind == found.ROUTER:
        return ROUTER
    return ORACLE if method.privileged else BOUND


def _points(method: MethodResult) -> list[Point]:
    points = []
    for told in method.evaluated.points:
        figures = told.figures
        at = Score(figures[SCORE] or 0.0, figures["raw_cost"] or 0.0)
        above = figures[ABOVE_CONSTANT]
        words = f"{method.title}: score {at.em:.3f} at raw cost {at.raw_cost:.4g}, {above:+.3f} above the best constant"
        if told.alpha is not None:
            words += f" (cost weight {told.alpha:g})"
        points.append(Point(at.em, at.raw_cost, words))
    return points
