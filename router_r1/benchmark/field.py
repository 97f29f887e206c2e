"""The whole field in one picture: score against cost, each method's curve over cost weights.

`Field` is what is shown. Where it goes in a page is computed by `place`, and `templates/field.html` draws it; nothing
there runs: which row belongs to which curve is told by links, titles and style sheets alone. `plots.draw_field` draws
the same into a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router_r1.constant_routers import Frontier, Score, pareto_front

CANDIDATE, BOUND, ORACLE, ROUTER = "candidate", "bound", "oracle", "router"

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 16, 50  # margins
_GOLDEN_ANGLE = 137.508  # degrees between two hues, so that neighbours in the list look unlike
_LOGARITHMIC_FROM = 20.0  # how many times dearer the dearest point is than the cheapest


@dataclass(frozen=True)
class Point(Score):
    """A method at one cost weight, and what is said of it when it is pointed at."""

    told: str = ""


@dataclass(frozen=True)
class FieldMethod:
    """A method in the picture."""

    title: str
    kind: str
    """`candidate`: alone; `bound`: does not look at the question; `oracle`: knows what no router is told; `router`."""
    points: Sequence[Point]
    """In the order of its cost weights."""
    rows: Sequence[int]
    """Of the table below the picture: those that are its own."""

    @property
    def id(self) -> int:
        """Its own in the page."""
        return self.rows[0]

    @property
    def name(self) -> str:
        """Of a candidate, without the word that says that it is alone."""
        return self.title.removesuffix(" alone")


@dataclass(frozen=True)
class Field:
    """All methods, and what they must beat."""

    methods: Sequence[FieldMethod]
    hulls: Sequence[Frontier] = ()
    """The best constant at each cost, of each seed's questions; none where it is not known."""
    beside: Sequence[Score] = ()
    """Further points that may lie on the front, without a place of their own."""

    @property
    def points(self) -> list[Point]:
        return [point for method in self.methods for point in method.points]

    @property
    def front(self) -> list[Score]:
        """What no method beats at the same cost, of those that know no more than a router is told."""
        own: list[Score] = [point for method in self.methods if method.kind != ORACLE for point in method.points]
        return pareto_front([*own, *self.beside])

    @property
    def hull(self) -> list[Score]:
        """The best constant at each cost that is shown, the mean over seeds; closely enough for any axis."""
        if not self.hulls:
            return []
        costs = [point.raw_cost for point in self.points]
        low, high = min(costs), max(costs)
        corners = [corner.raw_cost for hull in self.hulls for corner in hull.constants]
        within = [corner for corner in corners if low < corner < high]
        places = [float(cost) for cost in np.unique([*np.linspace(low, high, 400), *within])]
        return [Score(float(np.mean([hull.em_at(cost) for hull in self.hulls])), cost) for cost in places]

    @property
    def bend(self) -> float | None:
        """The cost from which on the axis is logarithmic, lest the cheap ones all lie in one place: the smallest that
        is not 0. None for an axis that is plain all along."""
        positive = [point.raw_cost for point in self.points if point.raw_cost > 0]
        if not positive or max(positive) < _LOGARITHMIC_FROM * min(positive):
            return None
        return min(positive)


@dataclass(frozen=True)
class Mark:
    """A point, in pixels."""

    x: float
    y: float
    told: str


@dataclass(frozen=True)
class Curve:
    """A method, in pixels."""

    method: FieldMethod
    colour: str
    marks: list[Mark]

    @property
    def line(self) -> str:
        """As SVG has it."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True)
class Picture:
    """All that is drawn, in pixels."""

    curves: list[Curve]
    hull: str
    front: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    height: int = HEIGHT


def place(field: Field) -> Picture:
    """Where everything goes."""
    axes = _Axes.around(field)
    routers = [method.title for method in field.methods if method.kind == ROUTER]
    curves = [
        Curve(
            method,
            _colour(method, routers),
            [Mark(axes.x(point.raw_cost), axes.y(point.em), point.told) for point in method.points],
        )
        for method in field.methods
    ]
    return Picture(
        curves,
        axes.line(field.hull),
        axes.line(field.front),
        [(axes.x(tick), f"{tick:.3g}") for tick in axes.x_ticks()],
        [(axes.y(tick), f"{tick:z.2f}") for tick in _ticks(axes.bottom, axes.top)],
    )


def _colour(method: FieldMethod, routers: Sequence[str]) -> str:
    if method.kind != ROUTER:
        return "#111" if method.kind == ORACLE else "#777"
    hue = 210 + _GOLDEN_ANGLE * routers.index(method.title)
    return f"hsl({hue % 360:.0f} 65% 40%)"


@dataclass(frozen=True)
class _Axes:
    """From cost and score to pixels."""

    left: float
    right: float
    bottom: float
    top: float
    bend: float | None

    @classmethod
    def around(cls, field: Field) -> _Axes:
        """With some room on all sides."""
        costs, scores = [point.raw_cost for point in field.points], [point.em for point in field.points]
        low, high = min(costs), max(costs)
        room = 0.04 * (max(scores) - min(scores)) or 0.05
        wide = 0.04 * (high - low) or 1.0
        ends = (low / 1.15, high * 1.15) if field.bend else (low - wide, high + wide)
        return cls(*ends, min(scores) - room, max(scores) + room, field.bend)

    def x(self, cost: float) -> float:
        ends = np.array([self.left, self.right, cost])
        low, high, own = ends if self.bend is None else np.arcsinh(ends / self.bend)
        return float(LEFT + (own - low) / (high - low) * (WIDTH - LEFT - RIGHT))

    def y(self, score: float) -> float:
        return TOP + (self.top - score) / (self.top - self.bottom) * (HEIGHT - TOP - BOTTOM)

    def line(self, points: Sequence[Score]) -> str:
        return " ".join(f"{self.x(point.raw_cost):.1f},{self.y(point.em):.1f}" for point in points)

    def x_ticks(self) -> list[float]:
        if self.bend is None:
            return _ticks(self.left, self.right)
        return bent_ticks(self.bend, self.left, self.right)


def bent_ticks(bend: float, left: float, right: float) -> list[float]:
    """Round costs for an axis that is linear below `bend` and logarithmic above: 0, and some above it."""
    powers = range(int(np.floor(np.log10(bend))), int(np.ceil(np.log10(right))) + 1)
    steps = (1, 2, 5) if len(powers) < 5 else (1,)
    found = [0.0, *(step * 10.0**power for power in powers for step in steps)]
    return [tick for tick in found if left <= tick <= right and (tick == 0 or tick >= bend)]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to ten of them."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [float(tick) for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
