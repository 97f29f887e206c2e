"""What an offline benchmark found, and the files that it is kept in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.constant_routers import Constant, Frontier
from router_r1.offline.evaluation import Evaluated
from router_r1.offline.fits import Reason
from router_r1.offline.resampling import holm

CSV_FILE = "results.csv"
BOUND, ROUTER = "bound", "router"


@dataclass(frozen=True)
class MethodResult:
    """A row of the table."""

    name: str
    title: str
    kind: str
    """`bound` or `router`."""
    evaluated: Evaluated
    privileged: bool = False
    """It knows what no router is told: the test questions' scores, or their data sets."""
    source: str = ""
    fit_s: float | None = None
    """Seconds, the mean over seeds; None for what is not fitted."""
    choose_ms: float | None = None
    """Milliseconds for a question, vectors being there."""
    reasons: list[Reason] = field(default_factory=list)
    """Of the first seed, where the router tells them."""


@dataclass(frozen=True)
class OfflineResults:
    """All of it; figures are means over seeds."""

    methods: list[MethodResult]
    """Bounds, then routers; among them by score at the first cost weight, the best first."""
    not_installed: dict[str, str]
    """Title of a router that could not be made -> what to type."""
    not_run: dict[str, str]
    """Title of a cascade that could not be fitted on these scores -> why."""
    baseline: MethodResult | None
    hulls: list[Frontier]
    """The best constants at each cost, of each seed's test questions."""
    num_test: float
    """Mean number of test questions."""

    @property
    def routers(self) -> list[MethodResult]:
        return [method for method in self.methods if method.kind == ROUTER]

    @property
    def bounds(self) -> list[MethodResult]:
        return [method for method in self.methods if method.kind == BOUND]

    def corrected(self, what: str, names: Sequence[str]) -> dict[str, float]:
        """Method -> p of a tested difference at the first cost weight, corrected for their number (Holm); those without
        one are left out."""
        raw = {m.name: m.evaluated.points[0].figures[f"{what}_p"] for m in self.methods if m.name in names}
        known = {name: p for name, p in raw.items() if p is not None}
        return dict(zip(known, holm(list(known.values())), strict=True))


def write_results(folder: Path, results: OfflineResults, facts: Mapping[str, Any]) -> None:
    """Write `results.json`, with the facts they depend on, and `results.csv`: a row for each method and cost weight."""
    found = {
        "methods": [asdict(method) for method in results.methods],
        "not_installed": results.not_installed,
        "not_run": results.not_run,
        "baseline": results.baseline.name if results.baseline else None,
        "hulls": [[_as_json(corner) for corner in hull.constants] for hull in results.hulls],
        "num_test": results.num_test,
        **facts,
    }
    write_text(folder / RESULTS_FILE, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    rows = [
        {
            **{"method": method.name, "kind": method.kind, "privileged": method.privileged, "alpha": point.alpha},
            **point.figures,
            **method.evaluated.curve,
            **{"fit_s": method.fit_s, "choose_ms": method.choose_ms},
        }
        for method in results.methods
        for point in method.evaluated.points
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / CSV_FILE, table.getvalue())


def _as_json(corner: Constant) -> dict[str, object]:
    return {"first": corner.name, "score": corner.em, "raw_cost": corner.raw_cost}
