"""Bars and lines of numbers that every seed gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from router_r1.findings.verdicts import t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_bars(axes: Axes, *, bars: Mapping[str, Mapping[int, float]], label: str) -> None:
    """A bar for each mean over seeds, with its 90 % interval if there are several seeds.

    Args:
        bars: what it is called -> seed -> value; without a value there is no bar.
        label: of the axis.
    """
    known = {name: found for name, values in bars.items() if (found := t_interval(values.values()))}
    half = [found.half_width if math.isfinite(found.half_width) else 0.0 for found in known.values()]
    axes.barh(list(known), [found.mean for found in known.values()], xerr=half, capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel(f"{label}, mean over seeds, 90 % interval")


def draw_lines(axes: Axes, lines: Mapping[str, Mapping[float, float]]) -> None:
    """A line for each name, from the smallest x to the largest.

    Args:
        lines: what it is called -> x -> y.
    """
    for name, points in lines.items():
        places = sorted(points)
        axes.plot(places, [points[x] for x in places], label=name)
    if lines:
        axes.legend(fontsize=8)
