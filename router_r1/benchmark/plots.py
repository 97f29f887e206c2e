"""Pictures of benchmark results, as PNG files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from router_r1.atomic import write_bytes
from router_r1.benchmark.field import CANDIDATE, ORACLE, ROUTER, Field, bent_ticks
from router_r1.benchmark.metrics import Results
from router_r1.benchmark.tables import ordered
from router_r1.constant_routers import CandidateTable, Score, frontier, oracle, oracle_by_kind
from router_r1.printable import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (8, 4)  # inches
_DPI = 110
_COLOURS = 10  # of matplotlib's cycle
_SHARE = "share/"

FIELD_FILE = "field.png"


def write_figures(folder: Path, results: Results, table: CandidateTable | None = None) -> list[Path]:
    """Write `em.png`, `em_cost.png`, `routes.png`, `shares.png` and, with a table, `constants.png`; their paths."""
    drawn: dict[str, Callable[[Axes], None]] = {
        "em": lambda axes: _draw_em(axes, results),
        "em_cost": lambda axes: draw_em_against_cost(
            axes, {name: (row["raw_cost"], row["em"]) for name, row in results.datasets.items()}
        ),
        "routes": lambda axes: _draw_routes(axes, results),
        "shares": lambda axes: draw_shares(axes, results),
    }
    if table is not None:
        drawn["constants"] = lambda axes: draw_constants(axes, results, table)
    return [save(folder / f"{name}.png", draw) for name, draw in drawn.items()]


def save(path: Path, draw: Callable[[Axes], None]) -> Path:
    """One picture; whole or not there."""
    import matplotlib
    from matplotlib.figure import Figure

    # Names come from outside, and "$" in a label would be read as mathematics.
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(alpha=0.3)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=_DPI)
    write_bytes(path, image.getvalue())
    return path


def draw_em_against_cost(
    axes: Axes, points: Mapping[str, tuple[float, float]], hulls: Iterable[Sequence[Score]] = ()
) -> None:
    """A named point for each (raw cost, EM), and the best constant at each cost as a line.

    Args:
        hulls: the corners of each line (`Results.hull`).
    """
    most = max((cost for cost, _ in points.values()), default=0.0)
    for hull in hulls:
        ends = [*((corner.raw_cost, corner.em) for corner in hull), (max(most, hull[-1].raw_cost), hull[-1].em)]
        axes.plot(*zip(*ends, strict=True), "k--", linewidth=1, zorder=1)
    for name, (cost, em) in points.items():
        axes.plot(cost, em, "o")
        axes.annotate(printable(name), (cost, em), textcoords="offset points", xytext=(5, 4), fontsize=8)
    axes.set_xlabel("raw cost per question (micro-USD of output)")
    axes.set_ylabel("exact match")
    axes.margins(0.15)


def draw_constants(axes: Axes, results: Results, table: CandidateTable) -> None:
    """The router above or below the line of what the same money buys without looking, among those who do not look.

    Where each question offers all candidates, these are the candidates, each alone. Else one alone would answer
    questions of its own, and not these: then they are the corners of the line, by whom they prefer.
    """
    corners = frontier(table).constants
    alone = {name: (score.raw_cost, score.em) for name, score in table.alone.items()}
    if not table.offered.all():
        alone = {f"{corner.name} first": (corner.raw_cost, corner.em) for corner in corners if corner.order}
    marks = {"oracle": oracle(table), "oracle by kind": oracle_by_kind(table)}
    draw_em_against_cost(axes, alone | {name: (score.raw_cost, score.em) for name, score in marks.items()})
    right = max(results.mean["raw_cost"], *(cost for cost, _ in alone.values()))
    axes.plot([*(c.raw_cost for c in corners), right], [*(c.em for c in corners), corners[-1].em], "k--", linewidth=1)
    axes.plot(results.mean["raw_cost"], results.mean["em"], "*", markersize=14, color="tab:red")
    at = (results.mean["raw_cost"], results.mean["em"])
    axes.annotate("router", at, textcoords="offset points", xytext=(7, 4), fontsize=8)


def draw_field(axes: Axes, field: Field) -> None:
    """All methods by cost and score: one at several weights is a line; those that no other beats are joined."""
    front, hull = field.front, field.hull
    costs, scores = [p.raw_cost for p in front], [p.em for p in front]
    axes.plot(costs, scores, color="gold", linewidth=5, alpha=0.5, zorder=0.5, label="Pareto front")
    if hull:
        costs, scores = [p.raw_cost for p in hull], [p.em for p in hull]
        axes.plot(costs, scores, "k--", linewidth=1, label="best constant at that cost")
    number = 0
    for method in field.methods:
        costs, scores = [p.raw_cost for p in method.points], [p.em for p in method.points]
        label = printable(method.title)
        if method.kind == CANDIDATE:
            axes.plot(costs, scores, "s", color="tab:gray", markersize=4)
            at = (costs[0], scores[0])
            axes.annotate(printable(method.name), at, textcoords="offset points", xytext=(4, -8), fontsize=5)
        elif method.kind == ROUTER:
            look = f"{'osD^v'[number // _COLOURS % 5]}-"  # where the colours come again, another mark
            axes.plot(costs, scores, look, markersize=4, linewidth=0.8, label=label)
            number += 1
        else:
            axes.plot(costs, scores, "k*" if method.kind == ORACLE else "x:", markersize=6, linewidth=0.8, label=label)
    if field.bend:
        axes.set_xscale("asinh", linear_width=field.bend)
        axes.set_xticks(bent_ticks(field.bend, *axes.get_xlim()))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.minorticks_off()
    axes.set_xlabel("raw cost per question (micro-USD of output)")
    axes.set_ylabel("score")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + len(axes.lines) // 28)


def _draw_em(axes: Axes, results: Results) -> None:
    """Bars with 95 % intervals."""
    names = ordered(results.datasets)
    rows = [*(results.datasets[name] for name in names), results.mean]
    em = np.array([row["em"] for row in rows])
    interval = np.array([[row["em_low"], row["em_high"]] for row in rows]).T  # [2, num_rows]
    errors = np.abs(interval - em).clip(min=0)
    colors = ["tab:blue"] * len(names) + ["tab:gray"]
    axes.bar([printable(name) for name in [*names, "mean"]], em, yerr=errors, capsize=3, color=colors)
    axes.set_ylabel("exact match, 95 % interval")
    axes.tick_params(axis="x", rotation=25)


def _draw_routes(axes: Axes, results: Results) -> None:
    names = ordered(results.datasets)
    axes.bar([printable(name) for name in names], [results.datasets[name]["routes"] for name in names])
    axes.set_ylabel("routes per question")
    axes.tick_params(axis="x", rotation=25)


def draw_shares(axes: Axes, results: Results) -> None:
    """One stacked bar per data set: the most used candidates, as many as there are colours, and the rest."""
    names = ordered(results.datasets)
    used = sorted((key for key in results.mean if key.startswith(_SHARE)), key=lambda key: -results.mean[key])
    shown = used if len(used) <= _COLOURS else used[: _COLOURS - 1]
    bars = {key.removeprefix(_SHARE): [results.datasets[name][key] for name in names] for key in shown}
    if rest := used[len(shown) :]:
        bars[f"{len(rest)} others"] = [sum(results.datasets[name][key] for key in rest) for name in names]
    start = np.zeros(len(names))
    for label, shares in bars.items():
        axes.barh([printable(name) for name in names], shares, left=start, label=printable(label))
        start += np.array(shares)
    axes.invert_yaxis()
    axes.set_xlabel("share of routes")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
