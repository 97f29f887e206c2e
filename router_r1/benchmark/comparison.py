"""Several benchmarks in one table and one picture, beside the paper's if wanted."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import yaml

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import Results, read_results
from router_r1.benchmark.plots import draw_em_against_cost, save
from router_r1.benchmark.tables import (
    CONSTANT_MEASURES,
    MEASURES,
    console_for,
    constants_of_runs_sheet,
    em_sheet,
    measures_of_runs_sheet,
    ordered,
    show,
)
from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.errors import ConfigError

PAPER_FILE = "paper_results.yaml"
_PAPER_NOTE = (
    "note: the paper's figures ({source}) are of 500 test questions of each data set and all of Bamboogle's; "
    "other questions, or fewer, do not compare"
)


def write_comparison(folders: Sequence[Path], out: Path, *, paper: str | None = None) -> None:
    """Print one table of the benchmarks, and write `comparison.csv` and `em_cost.png`.

    Args:
        folders: of their results.
        paper: add the published figures for this base model, `qwen` or `llama`.

    Raises:
        ConfigError: a folder holds no results, or is named twice.
    """
    runs = _read(folders)
    scores = {label: {**_em(results.datasets), "mean": results.mean["em"]} for label, results in runs.items()}
    note = ""
    if paper:
        source, rows = paper_rows(paper)
        note = _PAPER_NOTE.format(source=source)
        scores = {**{f"paper: {name}": row for name, row in rows.items()}, **scores}
    means = {label: results.mean for label, results in runs.items()}
    sheets = [em_sheet(scores), measures_of_runs_sheet(means)]
    if any(EM_ABOVE_CONSTANT in mean for mean in means.values()):
        sheets.append(constants_of_runs_sheet(means))
    show(console_for(sys.stdout), sheets)
    if len({tuple(sorted(row)) for row in scores.values()}) > 1:
        print("note: not all are of the same data sets, so their means do not compare")
    if note:
        print(note)
    write_text(out / "comparison.csv", _csv(scores, means))
    points = {label: (mean["raw_cost"], mean["em"]) for label, mean in means.items()}
    picture = save(out / "em_cost.png", lambda axes: draw_em_against_cost(axes, points))
    print(f"comparison: {picture.parent}")


def _read(folders: Sequence[Path]) -> dict[str, Results]:
    """Label -> results. The label is the folder's name, or its whole path where two names are alike."""
    names = [folder.resolve().name for folder in folders]
    labels = [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]
    if len(set(labels)) < len(labels):
        raise ConfigError("command line", "RUN", str(folders[-1]), "is named twice")
    return {label: read_results(folder) for label, folder in zip(labels, folders, strict=True)}


def _em(datasets: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: row["em"] for name, row in datasets.items()}


def paper_rows(base: str) -> tuple[str, dict[str, dict[str, float]]]:
    """Where the published figures stand, and method -> data set (and "mean") -> EM.

    Args:
        base: `qwen` or `llama`: the beginning of the base model's name.
    """
    file = resources.files("router_r1.benchmark").joinpath(PAPER_FILE)
    published = yaml.safe_load(file.read_text(encoding="utf-8"))
    model = next(name for name in published if name.lower().startswith(base))
    columns = published["columns"]
    return published["source"], {
        method: dict(zip(columns, row, strict=True)) for method, row in published[model].items()
    }


def _csv(scores: dict[str, dict[str, float]], means: dict[str, dict[str, float]]) -> str:
    """EM by data set, then what else is told of a run; empty where it is not known."""
    columns = [*ordered({name for row in scores.values() for name in row} - {"mean"}), "mean"]
    others = ["raw_cost", *(key for key, _ in (MEASURES | CONSTANT_MEASURES).values())]
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=["run", *columns, *others], lineterminator="\n")
    writer.writeheader()
    for label, row in scores.items():
        known = means.get(label, {})
        writer.writerow({"run": label, **row, **{key: known.get(key, "") for key in others}})
    return table.getvalue()
