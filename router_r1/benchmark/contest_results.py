"""What several methods came to, side by side: a row for each method, cost weight and data set, tables, a picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import RESULTS_FILE, Results, Row
from router_r1.benchmark.tables import Sheet, em_sheet
from router_r1.constant_routers import EM_ABOVE_CONSTANT

CSV_FILE = "results.csv"
MEAN = "mean"

_COLUMNS = {
    "EM": ("em", ".3f"),
    "F1": ("f1", ".3f"),
    "raw cost": ("raw_cost", ".4g"),
    "spend USD": ("spend_usd", ".3g"),
    "routes": ("routes", ".2f"),
    "p50 s": ("latency_p50_s", ".2f"),
    "top share": ("top_share", ".2f"),
    "EM above constant": (EM_ABOVE_CONSTANT, "+.3f"),
}
"""Heading -> metric and format."""


@dataclass(frozen=True)
class Contested:
    """A method at a cost weight, and its results."""

    name: str
    title: str
    alpha: float | None
    """None if it does not follow a cost weight."""
    results: Results
    is_candidate: bool = False
    """It asks one candidate, whatever the question."""

    @property
    def label(self) -> str:
        return self.title if self.alpha is None else f"{self.title}, {self.alpha:g}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """One for each data set, and their mean last."""
        named: list[tuple[str, Row]] = [*self.results.datasets.items(), (MEAN, self.results.mean)]
        for dataset, row in named:
            yield {"method": self.name, "title": self.title, "alpha": self.alpha, "dataset": dataset, **row}


def write_contest(folder: Path, contested: Sequence[Contested], facts: Mapping[str, Any]) -> None:
    """Write `results.json` and `results.csv`, each whole or not at all.

    Args:
        facts: what the results depend on, as JSON types.
    """
    rows = [row for one in contested for row in one.rows()]
    text = json.dumps({"rows": rows, **facts}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / RESULTS_FILE, text + "\n")
    sheet = io.StringIO()
    writer = csv.DictWriter(
        sheet, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / CSV_FILE, sheet.getvalue())


def contest_sheets(contested: Sequence[Contested]) -> list[Sheet]:
    """What is printed: means over data sets, and EM on each."""
    return [means_sheet(contested), em_by_dataset(contested)]


def means_sheet(contested: Sequence[Contested]) -> Sheet:
    """A row for each."""
    known = {key for one in contested for key in one.results.mean}
    columns = {heading: (key, form) for heading, (key, form) in _COLUMNS.items() if key in known}
    cells = [(one.label, [format(one.results.mean[key], form) for key, form in columns.values()]) for one in contested]
    return Sheet("Methods, mean over data sets, per question", "method", list(columns), cells)


def em_by_dataset(contested: Sequence[Contested]) -> Sheet:
    """A row for each, a column for each data set, the mean last."""
    em = {
        c.label: {**{name: row["em"] for name, row in c.results.datasets.items()}, MEAN: c.results.mean["em"]}
        for c in contested
    }
    return em_sheet(em)
