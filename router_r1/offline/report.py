"""`report.html` of an offline benchmark: one page that needs nothing else and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.field import place
from router_r1.benchmark.plots import FIELD_FILE, draw_field, save
from router_r1.benchmark.report import page_environment
from router_r1.offline.field import field_of
from router_r1.offline.results import OfflineResults
from router_r1.offline.tables import alpha_sheet, curve_sheet, dataset_sheet, score_sheet, spread_sheet, verdicts

REPORT_FILE = "report.html"


def write_report(folder: Path, results: OfflineResults, facts: Mapping[str, Any]) -> Path:
    """Write `field.png` and `report.html`; the latter's path."""
    field = field_of(results)
    save(folder / FIELD_FILE, lambda axes: draw_field(axes, field))
    page = (
        page_environment("router_r1.offline")
        .get_template("offline.html")
        .render(
            score_sheet=score_sheet(results),
            sheets=[curve_sheet(results), spread_sheet(results), alpha_sheet(results), dataset_sheet(results)],
            verdicts=verdicts(results),
            reasons={method.title: method.reasons for method in results.methods if method.reasons},
            not_installed=results.not_installed,
            not_run=results.not_run,
            picture=place(field),
            notes=facts.get("notes", []),
            facts=json.dumps(facts, indent=2, ensure_ascii=False),
        )
    )
    path = folder / REPORT_FILE
    write_text(path, page)
    return path
