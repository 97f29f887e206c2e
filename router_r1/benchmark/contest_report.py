"""`report.html` of a contest: the whole field on one page, and the paper's tables beside what was measured here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from router_r1.atomic import write_text
from router_r1.benchmark.contest_results import Contested, em_by_dataset, means_sheet
from router_r1.benchmark.field import BOUND, CANDIDATE, ORACLE, ROUTER, Field, FieldMethod, Point, place
from router_r1.benchmark.paper import MEAN, METRICS, PaperTable, name_in_paper, paper_table
from router_r1.benchmark.plots import FIELD_FILE, draw_field, save
from router_r1.benchmark.report import page_environment
from router_r1.benchmark.tables import SHORT, Sheet, ordered
from router_r1.constant_routers import EM_ABOVE_CONSTANT, CandidateTable, frontier, oracle

REPORT_FILE = "report.html"
_BOUNDS = ("random", "largest", "best-constant", "cheapest", "dearest")
_ORACLE, _NONE = "Oracle, asking once", "-"


def write_report(
    folder: Path,
    contested: Sequence[Contested],
    table: CandidateTable | None,
    facts: Mapping[str, Any],
    *,
    paper: str | None = None,
) -> Path:
    """Write `field.png` and `report.html`; the latter's path.

    Args:
        table: what every candidate said to every question, for the bounds in the picture; None if that is not known.
        paper: the base model whose published figures stand beside ours, `qwen` or `llama`.
    """
    field = field_of(contested, table)
    save(folder / FIELD_FILE, lambda axes: draw_field(axes, field))
    rows = means_sheet(contested)
    if table is not None:
        best = oracle(table)
        cells = {"EM": f"{best.em:.3f}", "raw cost": f"{best.raw_cost:.4g}"}
        rows.rows.append((_ORACLE, [cells.get(column, _NONE) for column in rows.columns]))
    page = (
        page_environment()
        .get_template("contest.html")
        .render(
            rows=rows,
            picture=place(field),
            sheets=[em_by_dataset(contested), *(paper_sheets(contested, paper) if paper else [])],
            not_run=facts.get("not_run", {}),
            notes=facts.get("notes", []),
            facts=json.dumps(facts, indent=2, ensure_ascii=False),
        )
    )
    path = folder / REPORT_FILE
    write_text(path, page)
    return path


def field_of(contested: Sequence[Contested], table: CandidateTable | None) -> Field:
    """What is shown; row n of the table is the nth of those contested, and the oracle's the last."""
    methods = []
    for title in dict.fromkeys(one.title for one in contested):
        own = [(row, one) for row, one in enumerate(contested) if one.title == title]
        points = [_point(one) for _, one in own]
        methods.append(FieldMethod(title, _kind(own[0][1]), points, [row for row, _ in own]))
    if table is None:
        return Field(methods)
    best = oracle(table)
    told = f"{_ORACLE}: score {best.em:.3f} at raw cost {best.raw_cost:.4g}"
    methods.append(FieldMethod(_ORACLE, ORACLE, [Point(best.em, best.raw_cost, told)], [len(contested)]))
    return Field(methods, [frontier(table)])


def _kind(one: Contested) -> str:
    if one.is_candidate:
        return CANDIDATE
    return BOUND if one.name in _BOUNDS else ROUTER


def _point(one: Contested) -> Point:
    mean = one.results.mean
    words = f"{one.label}: score {mean['em']:.3f} at raw cost {mean['raw_cost']:.4g}"
    if EM_ABOVE_CONSTANT in mean:
        words += f", {mean[EM_ABOVE_CONSTANT]:+.3f} above the best constant"
    return Point(mean["em"], mean["raw_cost"], words)


def paper_sheets(contested: Sequence[Contested], base: str) -> list[Sheet]:
    """The paper's tables for a base model in their own layout, each with ours beside it: every method of either, with
    the figures of the first cost weight that was run."""
    first: dict[str, Contested] = {}
    for one in contested:
        first.setdefault(one.name, one)
    tables = [paper_table(base, metric) for metric in METRICS]
    return [_beside(table, list(first.values())) for table in tables if table is not None]


def _beside(table: PaperTable, ours: Sequence[Contested]) -> Sheet:
    heading, form = METRICS[table.metric]
    given = {name for row in table.rows.values() for name in row}
    columns = ordered(given - {MEAN}) + ([MEAN] if MEAN in given else [])
    measured = {name_in_paper(one.name) or one.title: _values(one, table.metric, given) for one in ours}
    names = [*table.rows, *(name for name in measured if name not in table.rows)]
    rows = []
    for name in names:
        published, here = table.rows.get(name, {}), measured.get(name, {})
        rows.append((name, [_cell(values.get(column), form) for values in (published, here) for column in columns]))
    groups = [("the paper", len(columns)), ("here", len(columns))]
    headings = [SHORT.get(column, column) for column in columns]
    return Sheet(f"{heading}, beside the paper's", "method", [*headings, *headings], rows, groups)


def _values(one: Contested, metric: str, given: Collection[str]) -> dict[str, float]:
    """With the mean only if it is one of the same data sets."""
    values = {name: row[metric] for name, row in one.results.datasets.items()}
    return values | ({MEAN: one.results.mean[metric]} if given == {*values, MEAN} else {})


def _cell(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)
