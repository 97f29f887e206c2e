"""The picture of the whole field as a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_r1.benchmark.plots import save
from router_r1.offline.bounds import ALONE
from router_r1.offline.picture import front_of, hull_line, is_logarithmic, points_of, shown
from router_r1.offline.results import ROUTER, OfflineResults
from router_r1.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIELD_FILE = "field.png"


def write_field(folder: Path, results: OfflineResults) -> Path:
    """Write `field.png`; its path."""
    return save(folder / FIELD_FILE, lambda axes: draw_field(axes, results))


def draw_field(axes: Axes, results: OfflineResults) -> None:
    """Each method's curve over cost weights, among candidates alone, the best constant at each cost and the oracle."""
    methods = shown(results)
    middle = np.median([point.raw_cost for point in hull_line(results)])
    for method in methods:
        points = points_of(method)
        costs, scores = [point.raw_cost for point in points], [point.em for point in points]
        label = printable(method.title)
        if method.name.startswith(ALONE):
            axes.plot(costs, scores, "s", color="tab:gray", markersize=4)
            on_the_right = costs[0] > middle
            axes.annotate(
                label.removesuffix(" alone"),
                (costs[0], scores[0]),
                textcoords="offset points",
                xytext=(-4 if on_the_right else 4, -8),
                ha="right" if on_the_right else "left",
                fontsize=5,
            )
        elif method.kind == ROUTER:
            axes.plot(costs, scores, "o-", markersize=3, linewidth=1, label=label)
        else:
            style = "k^-" if method.privileged else "x:"
            axes.plot(costs, scores, style, markersize=4, linewidth=0.8, label=label)
    hull = hull_line(results)
    axes.plot([p.raw_cost for p in hull], [p.em for p in hull], "k--", linewidth=1, label="Best constant at that cost")
    front = front_of(results)
    axes.plot([p.raw_cost for p in front], [p.em for p in front], color="gold", linewidth=4, alpha=0.5, zorder=0.5)
    if is_logarithmic(results):
        axes.set_xscale("log")
    axes.set_xlabel("raw cost per question (micro-USD of output)")
    axes.set_ylabel("score")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
