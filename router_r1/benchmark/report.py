"""`report.html`: one page that needs nothing else, with tables, pictures and a sample of trajectories.

Everything in it that a model, a candidate or a data file wrote is escaped by the template engine; a page that got past
that would still be forbidden to run or load anything, by its own Content-Security-Policy.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.atomic import write_text
from router_r1.benchmark.display import Segment, describe_route, segments
from router_r1.benchmark.metrics import Results
from router_r1.benchmark.records import Record
from router_r1.benchmark.tables import ordered, sheets
from router_r1.printable import printable
from router_r1.protocol import Route

if TYPE_CHECKING:
    from jinja2 import Environment

_MAX_CHARS = 4000  # of one piece of text; a candidate may send megabytes
_SAMPLES = 3  # per data set and kind


def write_report(
    folder: Path, results: Results, records: Sequence[Record], figures: Sequence[Path], facts: Mapping[str, Any]
) -> Path:
    """Write `report.html`; its path."""
    environment = page_environment()
    environment.filters |= {"segments": _segments, "route": _route}
    page = environment.get_template("report.html").render(
        sheets=sheets(results),
        figures=embedded(figures),
        samples={name: sample(records, name) for name in ordered(results.datasets)},
        notes=facts.get("notes", []),
        facts=json.dumps(facts, indent=2, ensure_ascii=False),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def page_environment(*packages: str) -> Environment:
    """What pages are made with: `page.html`, which they extend, `parts.html`, and everything escaped.

    Args:
        packages: with a folder `templates` of further ones.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, "templates") for name in (*packages, "router_r1.benchmark")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = shortened
    return environment


def embedded(figures: Sequence[Path]) -> list[tuple[str, str]]:
    """Name and base64 of PNG files, as a page holds them."""
    return [(path.stem, base64.b64encode(path.read_bytes()).decode("ascii")) for path in figures]


def sample(records: Sequence[Record], data_source: str) -> dict[str, list[Record]]:
    """A few trajectories of a data set: right ones, wrong ones, and ones with a broken format or a failed route."""
    own = sorted((r for r in records if r["data_source"] == data_source), key=lambda r: (r["index"], r["sample"]))
    faulty = [r for r in own if r["format_error"] or r["failed_routes"]]
    sound = [r for r in own if not r["format_error"] and not r["failed_routes"]]
    kinds = {
        "right": [r for r in sound if r["em"]],
        "wrong": [r for r in sound if not r["em"]],
        "faulty": faulty,
    }
    return {kind: _spread(found) for kind, found in kinds.items()}


def _spread(records: Sequence[Record]) -> list[Record]:
    """A few from all over the list."""
    step = max(1, len(records) // _SAMPLES)
    return list(records[::step][:_SAMPLES])


def shortened(text: str) -> str:
    """Printable, and not longer than a reader wants."""
    text = printable(text)
    if len(text) <= _MAX_CHARS:
        return text
    return f"{text[:_MAX_CHARS]} [... {len(text) - _MAX_CHARS:,} more characters in trajectories.jsonl]"


def _segments(text: str) -> list[Segment]:
    return segments(shortened(text.strip()))


def _route(route: Mapping[str, Any]) -> str:
    return shortened(describe_route(Route(**route)))
