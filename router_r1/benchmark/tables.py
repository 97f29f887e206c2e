"""What a benchmark's results look like: sheets of headings and cells, for the terminal and for the report alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from router_r1 import constant_routers, measures
from router_r1.benchmark.metrics import Results, Row
from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.datasets.selection import GENERAL, MULTI_HOP
from router_r1.measures import EFFECTIVE_CANDIDATES
from router_r1.printable import printable

SHORT = {"hotpotqa": "hotpot", "2wikimultihopqa": "2wiki", "bamboogle": "bamb"}
"""Data set -> heading of its column, where that is shorter."""
_FORMATS = {EFFECTIVE_CANDIDATES: ".2f", EM_ABOVE_CONSTANT: "+.3f"}
MEASURES = {heading: (key, _FORMATS.get(key, ".3f")) for heading, key in measures.COLUMNS.items()}
CONSTANT_MEASURES = {heading: (key, _FORMATS.get(key, ".3f")) for heading, key in constant_routers.COLUMNS.items()}
"""Heading -> metric and format."""
_FILE_WIDTH = 120  # characters of a table where there is no terminal


@dataclass(frozen=True)
class Sheet:
    """A table: a row is a label and a cell per column."""

    title: str
    label: str  # heading of the row labels
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    groups: list[tuple[str, int]] = field(default_factory=list)  # heading over several columns, how many; [] for none
    last_row_is_total: bool = False


def ordered(datasets: Iterable[str]) -> list[str]:
    """General questions, then multi-hop ones, as in the paper's tables; then whatever else there is."""
    there = list(datasets)
    known = [name for name in (*GENERAL, *MULTI_HOP) if name in there]
    return [*known, *sorted(set(there) - set(known))]


def summary_sheet(results: Results) -> Sheet:
    """Data sets in columns, mean last."""
    rows = _columns_of(results)
    return _by_dataset(
        "Results",
        "",
        results.datasets,
        [
            ("EM", [f"{row['em']:.3f}" for row in rows]),
            ("95 % interval", [f"{row['em_low']:.2f}-{row['em_high']:.2f}" for row in rows]),
            ("F1", [f"{row['f1']:.3f}" for row in rows]),
            ("format kept", [f"{row['format_ok']:.3f}" if row["policy_tokens"] else "-" for row in rows]),
            ("questions", [f"{row['n']:.0f}" for row in rows]),
        ],
    )


def em_sheet(runs: Mapping[str, Mapping[str, float]], title: str = "Exact match") -> Sheet:
    """Runs in rows, data sets in columns, mean last.

    Args:
        runs: label -> data set (and "mean") -> EM; a data set that a run lacks is left empty.
    """
    names = {name for scores in runs.values() for name in scores} - {"mean"}
    columns = [*ordered(names), "mean"]
    return _by_dataset(
        title,
        "run",
        names,
        [
            (label, [f"{scores[name]:.3f}" if name in scores else "" for name in columns])
            for label, scores in runs.items()
        ],
    )


def cost_sheet(results: Results) -> Sheet:
    """EM and what it cost side by side, per question."""
    columns = ["EM", "raw cost", "spend USD", "tokens in", "tokens out", "policy tokens", "p50 s", "p95 s"]
    keys = ["em", "raw_cost", "spend_usd", "tokens_in", "tokens_out", "policy_tokens", "latency_p50_s", "latency_p95_s"]
    formats = [".3f", ".4g", ".3g", ".1f", ".1f", ".1f", ".2f", ".2f"]
    return _per_dataset("Cost per question (raw cost in micro-USD of output)", columns, keys, formats, results)


def routes_sheet(results: Results) -> Sheet:
    """How often candidates are asked, and how trajectories end."""
    columns = ["routes", "turns", "failed routes", "answered", "no action", "too long", "max turns"]
    keys = ["routes", "turns", "failed_routes"]
    keys += [f"status/{status}" for status in ("answered", "no_action", "length", "max_turns")]
    return _per_dataset("Routes", columns, keys, [".2f", ".2f", ".0f", *[".3f"] * 4], results)


def shares_sheet(results: Results) -> Sheet:
    """Whom the routes go to: candidates in rows, data sets in columns."""
    rows = _columns_of(results)
    shares = [key for key in results.mean if key.startswith("share/")]
    return _by_dataset(
        "Candidates' shares of the routes",
        "candidate",
        results.datasets,
        [(key.removeprefix("share/"), [f"{row[key]:.3f}" for row in rows]) for key in shares],
    )


def measures_sheet(results: Results) -> Sheet:
    """How routes spread, and whether that depends on the question; last, of all data sets together."""
    rows = _columns_of(results)
    return _by_dataset(
        "Measures of routing",
        "",
        results.datasets,
        [(heading, [format(row[key], form) for row in rows]) for heading, (key, form) in MEASURES.items()],
        last="all",
    )


def measures_of_runs_sheet(runs: Mapping[str, Mapping[str, float]]) -> Sheet:
    """Runs in rows, measures in columns.

    Args:
        runs: label -> metrics of all data sets together; what the results of an earlier version lack is left empty.
    """
    title = "Measures of routing, all data sets together"
    return Sheet(title, "run", list(MEASURES), [(label, _cells(row, MEASURES)) for label, row in runs.items()])


def constants_sheet(results: Results) -> Sheet:
    """What the same money buys without looking at the question, and the most there is; empty where it is not known."""
    rows = _columns_of(results)
    cells = zip(*(_cells(row, CONSTANT_MEASURES) for row in rows), strict=True)
    return _by_dataset(
        "EM beside what candidates alone would score",
        "",
        results.datasets,
        [(heading, list(line)) for heading, line in zip(CONSTANT_MEASURES, cells, strict=True)],
    )


def constants_of_runs_sheet(runs: Mapping[str, Mapping[str, float]]) -> Sheet:
    """Runs in rows; empty where the candidates were not asked. The argument is that of `measures_of_runs_sheet`."""
    title = "EM beside what candidates alone would score, mean over data sets"
    columns = ["EM", "raw cost", *CONSTANT_MEASURES]
    rows = [
        (label, [f"{row['em']:.3f}", f"{row['raw_cost']:.4g}", *_cells(row, CONSTANT_MEASURES)])
        for label, row in runs.items()
    ]
    return Sheet(title, "run", columns, rows)


def _cells(row: Mapping[str, float], columns: Mapping[str, tuple[str, str]]) -> list[str]:
    return [format(row[key], form) if key in row else "" for key, form in columns.values()]


def cost_weights_sheet(runs: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Sheet:
    """Runs and cost weights in rows, measures in columns: what less cost is paid for with.

    Args:
        runs: label, "" if there is but one -> cost weight -> metrics of all its questions.
    """
    columns = {"EM": ("em", ".3f"), "raw cost": ("raw_cost", ".4g"), "routes": ("routes", ".2f"), **MEASURES}
    rows = {
        f"{label}, {weight}" if label else weight: row
        for label, weights in runs.items()
        for weight, row in weights.items()
    }
    known = {key for row in rows.values() for key in row}
    columns |= {heading: (key, form) for heading, (key, form) in CONSTANT_MEASURES.items() if key in known}
    cells = [(name, _cells(row, columns)) for name, row in rows.items()]
    return Sheet("By cost weight (alpha)", "run, alpha" if any(runs) else "alpha", list(columns), cells)


def sheets(results: Results) -> list[Sheet]:
    """All that is shown of one benchmark."""
    always = [
        summary_sheet(results),
        cost_sheet(results),
        *([constants_sheet(results)] if EM_ABOVE_CONSTANT in results.mean else []),
        routes_sheet(results),
        shares_sheet(results),
        measures_sheet(results),
    ]
    return [*always, cost_weights_sheet({"": results.cost_weights})] if len(results.cost_weights) > 1 else always


def _columns_of(results: Results) -> list[Row]:
    return [*(results.datasets[name] for name in ordered(results.datasets)), results.mean]


def _by_dataset(
    title: str, label: str, datasets: Iterable[str], rows: list[tuple[str, list[str]]], last: str = "mean"
) -> Sheet:
    """Data sets in columns, in groups, and last their mean or what else is said of all of them."""
    names = ordered(datasets)
    groups = [("general", len(_among(names, GENERAL))), ("multi-hop", len(_among(names, MULTI_HOP)))]
    groups.append(("", len(names) + 1 - sum(count for _, count in groups)))
    columns = [*(SHORT.get(name, name) for name in names), last]
    return Sheet(title, label, columns, rows, groups=[group for group in groups if group[1]])


def _among(names: Sequence[str], group: Sequence[str]) -> list[str]:
    return [name for name in names if name in group]


def _per_dataset(
    title: str, columns: list[str], keys: Sequence[str], formats: Sequence[str], results: Results
) -> Sheet:
    named = [*((name, results.datasets[name]) for name in ordered(results.datasets)), ("mean", results.mean)]
    cells = [(name, [format(row[key], form) for key, form in zip(keys, formats, strict=True)]) for name, row in named]
    return Sheet(title, "data set", columns, cells, last_row_is_total=True)


def show(console: Console, shown: Sequence[Sheet]) -> None:
    """Print sheets as text tables."""
    for sheet in shown:
        console.print(_table(sheet))


def console_for(out: IO[str]) -> Console:
    """A console for results: as wide as the terminal, or as a page where there is none."""
    return Console(file=out, highlight=False, width=None if out.isatty() else _FILE_WIDTH)


def _table(sheet: Sheet) -> Table:
    table = Table(
        title=Text(sheet.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
        collapse_padding=True,
    )  # fmt: skip
    table.add_column(sheet.label, overflow="fold")
    over = [heading if first else "" for heading, count in sheet.groups for first in (True, *[False] * (count - 1))]
    for column, heading in zip(sheet.columns, over or [""] * len(sheet.columns), strict=True):
        lines = Text(f"{heading}\n", style="dim").append(printable(column)) if over else Text(column)
        table.add_column(lines, justify="right", overflow="fold")
    for number, (label, cells) in enumerate(sheet.rows, start=1):
        is_total = sheet.last_row_is_total and number == len(sheet.rows)
        table.add_row(
            Text(printable(label)), *map(Text, cells), style="bold" if is_total else None,
            end_section=sheet.last_row_is_total and number == len(sheet.rows) - 1,
        )  # fmt: skip
    return table
