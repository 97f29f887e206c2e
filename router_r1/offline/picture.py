"""The whole field in one picture: score against cost, each method's curve over cost weights.

Where things go is computed here; `templates/field.svg` draws them into the page, and `plots.py` draws the same into a
file. Nothing in the page runs: which row belongs to which curve is told by links, titles and style sheets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router_r1.constant_routers import Score, pareto_front
from router_r1.offline.bounds import ALONE
from router_r1.offline.evaluation import ABOVE_CONSTANT, SCORE
from router_r1.offline.results import ROUTER, MethodResult, OfflineResults

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 16, 50  # margins
_GOLDEN_ANGLE = 137.508  # degrees between two hues, so that neighbours in the list look unlike
_LOGARITHMIC_FROM = 20.0  # how many times dearer the dearest point is than the cheapest
_UNSHOWN = ("constant-at-cost", "cheapest", "dearest")  # the dashed line, and twice the candidates


@dataclass(frozen=True)
class Mark:
    """A method at one cost weight."""

    x: float
    y: float
    told: str


@dataclass(frozen=True)
class Curve:
    """A method."""

    method: MethodResult
    colour: str
    marks: list[Mark]

    @property
    def line(self) -> str:
        """As SVG has it."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)

    @property
    def is_candidate(self) -> bool:
        return self.method.name.startswith(ALONE)


@dataclass(frozen=True)
class Picture:
    """All that is drawn, in pixels."""

    curves: list[Curve]
    hull: str
    """The best constant at each cost."""
    front: str
    """Methods that no other one beats at the same cost; none of them knows what no router is told."""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def shown(results: OfflineResults) -> list[MethodResult]:
    """What has a place of its own in the picture."""
    return [method for method in results.methods if method.name not in _UNSHOWN]


def points_of(method: MethodResult) -> list[Score]:
    return [Score(p.figures[SCORE] or 0.0, p.figures["raw_cost"] or 0.0) for p in method.evaluated.points]


def front_of(results: OfflineResults) -> list[Score]:
    """The Pareto front of all methods that know no more than a router is told."""
    points = [point for method in results.methods if not method.privileged for point in points_of(method)]
    return pareto_front(points)


def is_logarithmic(results: OfflineResults) -> bool:
    """Whether costs differ so much that the cheap ones would all lie in one place."""
    costs = [point.raw_cost for method in shown(results) for point in points_of(method)]
    return min(costs) > 0 and max(costs) / min(costs) >= _LOGARITHMIC_FROM


def hull_line(results: OfflineResults) -> list[Score]:
    """The best constant at each cost that is shown, the mean over seeds; closely enough for any axis."""
    shown_costs = [point.raw_cost for method in shown(results) for point in points_of(method)]
    low, high = min(shown_costs), max(shown_costs)
    corners = [corner.raw_cost for hull in results.hulls for corner in hull.constants if low < corner.raw_cost < high]
    costs = [float(cost) for cost in np.unique([*np.linspace(low, high, 200), *corners])]
    return [Score(float(np.mean([hull.em_at(cost) for hull in results.hulls])), cost) for cost in costs]


def draw(results: OfflineResults) -> Picture:
    """The picture of a benchmark."""
    methods = shown(results)
    points = [point for method in methods for point in points_of(method)]
    costs, scores = [point.raw_cost for point in points], [point.em for point in points]
    place = _Axes.around(costs, scores, logarithmic=is_logarithmic(results))
    routers = [method.name for method in methods if method.kind == ROUTER]
    curves = [
        Curve(method, _colour(method, routers), [_mark(method, n, place) for n in range(len(method.evaluated.points))])
        for method in methods
    ]
    return Picture(
        curves,
        _line(place, hull_line(results)),
        _line(place, front_of(results)),
        [(place.x(tick), f"{tick:.3g}") for tick in place.x_ticks()],
        [(place.y(tick), f"{tick:.2f}") for tick in _ticks(place.bottom, place.top)],
    )


def _colour(method: MethodResult, routers: Sequence[str]) -> str:
    if method.kind != ROUTER:
        return "#111" if method.privileged else "#777"
    hue = 210 + _GOLDEN_ANGLE * routers.index(method.name)
    return f"hsl({hue % 360:.0f} 65% 40%)"


def _mark(method: MethodResult, number: int, place: _Axes) -> Mark:
    point = points_of(method)[number]
    told = method.evaluated.points[number]
    above = told.figures[ABOVE_CONSTANT]
    words = (
        f"{method.title}: score {point.em:.3f} at raw cost {point.raw_cost:.4g}, {above:+.3f} above the best constant"
    )
    if told.alpha is not None:
        words += f" (cost weight {told.alpha:g})"
    return Mark(place.x(point.raw_cost), place.y(point.em), words)


def _line(place: _Axes, points: Sequence[Score]) -> str:
    return " ".join(f"{place.x(point.raw_cost):.1f},{place.y(point.em):.1f}" for point in points)


@dataclass(frozen=True)
class _Axes:
    """From cost and score to pixels."""

    left: float
    right: float
    bottom: float
    top: float
    logarithmic: bool

    @classmethod
    def around(cls, costs: Sequence[float], scores: Sequence[float], *, logarithmic: bool) -> _Axes:
        """With some room on all sides."""
        low, high = min(costs), max(costs)
        room = 0.04 * (max(scores) - min(scores)) or 0.05
        if logarithmic:
            left, right = low / 1.15, high * 1.15
        else:
            wide = 0.04 * (high - low) or 1.0
            left, right = low - wide, high + wide
        return cls(left, right, min(scores) - room, max(scores) + room, logarithmic)

    def x(self, cost: float) -> float:
        ends = np.array([self.left, self.right, cost])
        low, high, own = np.log(ends) if self.logarithmic else ends
        return float(LEFT + (own - low) / (high - low) * (WIDTH - LEFT - RIGHT))

    def y(self, score: float) -> float:
        return TOP + (self.top - score) / (self.top - self.bottom) * (HEIGHT - TOP - BOTTOM)

    def x_ticks(self) -> list[float]:
        if not self.logarithmic:
            return _ticks(self.left, self.right)
        powers = range(int(np.floor(np.log10(self.left))), int(np.ceil(np.log10(self.right))) + 1)
        found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [tick for tick in found if self.left <= tick <= self.right]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to ten of them."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [float(tick) for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
