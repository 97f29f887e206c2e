"""Benchmarks side by side: the figures of `router-r1 compare`, for a table that can be sorted and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router_r1.benchmark.comparison import cost_weights, hulls_of, points_of
from router_r1.benchmark.metrics import Results, read_results
from router_r1.benchmark.tables import CONSTANT_MEASURES, MEASURES, ordered
from router_r1.constant_routers import pareto_front
from router_r1.errors import ConfigError
from router_r1.pages.folders import Folder
from router_r1.runs import METHODS_FOLDER

_COLUMNS = {
    "EM": "em",
    "F1": "f1",
    "format kept": "format_ok",
    "raw cost": "raw_cost",
    "spend USD": "spend_usd",
    "routes": "routes",
    "p50 s": "latency_p50_s",
    **{heading: key for heading, (key, _) in (MEASURES | CONSTANT_MEASURES).items()},
}
"""Heading -> metric."""


def comparison(folders: Sequence[Folder]) -> dict[str, Any]:
    """Columns, and a row for each benchmark or, where there are several cost weights, for each of them.

    A row has `label`, `name` (to be read), `weight` (or None), `values` by metric, `datasets` (EM by data set), and
    whether it is `on_front`: no other has as good an EM for as little money. `hulls` has the best constant at each
    cost, once for all benchmarks that have the same: `of` names them, `corners` are [raw cost, EM], the cheapest first.
    A folder that holds no results yet, or no results of ours, is named in `without_results`.
    """
    runs: dict[str, Results] = {}
    without: list[str] = []
    for folder in folders:
        try:
            results = read_results(folder.path)
            _check(results)
            runs[folder.name] = results
        except (ConfigError, ValueError, TypeError, KeyError, AttributeError):
            without.append(folder.name)
    points = points_of(runs)
    front = {point.name for point in pareto_front(points)}
    weights = cost_weights(runs)
    rows = []
    for point in points:
        values = runs[point.label].mean if point.weight is None else weights[point.label][point.weight]
        datasets = runs[point.label].datasets if point.weight is None else {}
        rows.append(
            {
                "label": point.label,
                "name": _name(point.label, runs[point.label]),
                "weight": point.weight,
                "values": {key: values[key] for key in (*_COLUMNS.values(), "em_low", "em_high") if key in values},
                "datasets": {name: row["em"] for name, row in datasets.items()},
                "on_front": point.name in front,
            }
        )
    return {
        "columns": [{"heading": heading, "key": key} for heading, key in _COLUMNS.items()],
        "datasets": ordered({name for results in runs.values() for name in results.datasets}),
        "rows": rows,
        "hulls": [
            {"of": names, "corners": [(corner.raw_cost, corner.em) for corner in hull]}
            for hull, names in hulls_of(runs).items()
        ],
        "without_results": without,
    }


def _name(label: str, results: Results) -> str:
    """The label, with a contest's own title for the method in the place of its folder."""
    if not results.title:
        return label
    contest, _, _ = label.rpartition(f"{METHODS_FOLDER}/")
    return contest + results.title


def _check(results: Results) -> None:
    """See that what is compared is there, and numbers: a folder may be of anybody's making."""
    rows: list[Mapping[str, float]] = [results.mean, *results.datasets.values(), *results.cost_weights.values()]
    for row in rows:
        float(row["em"]), float(row["raw_cost"])
    for corner in results.hull:
        float(corner.em), float(corner.raw_cost)
