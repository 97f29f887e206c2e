"""Several benchmarks in one table and one picture, beside the paper's if wanted."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router_r1.atomic import write_text
from router_r1.benchmark.metrics import Results, Row, read_results
from router_r1.benchmark.paper import note as paper_note
from router_r1.benchmark.paper import paper_table
from router_r1.benchmark.plots import draw_em_against_cost, save
from router_r1.benchmark.tables import (
    CONSTANT_MEASURES,
    MEASURES,
    console_for,
    constants_of_runs_sheet,
    cost_weights_sheet,
    em_sheet,
    measures_of_runs_sheet,
    ordered,
    show,
)
from router_r1.constant_routers import EM_ABOVE_CONSTANT, Score
from router_r1.errors import ConfigError


@dataclass(frozen=True)
class ComparedPoint(Score):
    """A benchmark in the picture of cost and EM, or its questions of one cost weight."""

    label: str
    weight: str | None = None

    @property
    def name(self) -> str:
        return self.label if self.weight is None else f"{self.label}, {self.weight}"


def points_of(runs: Mapping[str, Results]) -> list[ComparedPoint]:
    """The points of the picture: one for each benchmark, or for each of its cost weights where there are several.

    Args:
        runs: label -> results.
    """
    weights = cost_weights(runs)
    points = []
    for label, results in runs.items():
        rows: dict[str | None, Row] = dict(weights[label].items()) if label in weights else {None: results.mean}
        points += [ComparedPoint(row["em"], row["raw_cost"], label, weight) for weight, row in rows.items()]
    return points


def hulls_of(runs: Mapping[str, Results]) -> dict[tuple[Score, ...], list[str]]:
    """The best constant at each cost -> the labels of the benchmarks that it is of: those on the same questions share
    it. None is there of a benchmark whose candidates were not asked."""
    labels_of: dict[tuple[Score, ...], list[str]] = {}
    for label, results in runs.items():
        if results.hull:
            labels_of.setdefault(tuple(results.hull), []).append(label)
    return labels_of


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
        note = f"note: {paper_note()}"
        published = paper_table(paper)
        assert published is not None
        scores = {**{f"paper: {name}": dict(row) for name, row in published.rows.items()}, **scores}
    means = {label: results.mean for label, results in runs.items()}
    weights = cost_weights(runs)
    sheets = [em_sheet(scores), measures_of_runs_sheet(means)]
    if any(EM_ABOVE_CONSTANT in mean for mean in means.values()):
        sheets.append(constants_of_runs_sheet(means))
    if weights:
        sheets.append(cost_weights_sheet(weights))
    show(console_for(sys.stdout), sheets)
    if len({tuple(sorted(row)) for row in scores.values()}) > 1:
        print("note: not all are of the same data sets, so their means do not compare")
    if note:
        print(note)
    by_weight = {(label, weight): row for label, found in weights.items() for weight, row in found.items()}
    write_text(out / "comparison.csv", _csv(scores, means, by_weight))
    named = {point.name: (point.raw_cost, point.em) for point in points_of(runs)}
    hulls = list(hulls_of(runs))
    picture = save(out / "em_cost.png", lambda axes: draw_em_against_cost(axes, named, hulls))
    print(f"comparison: {picture.parent}")


def _read(folders: Sequence[Path]) -> dict[str, Results]:
    """Label -> results. The label is the folder's name, or its whole path where two names are alike."""
    names = [folder.resolve().name for folder in folders]
    labels = [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]
    if len(set(labels)) < len(labels):
        raise ConfigError("command line", "RUN", str(folders[-1]), "is named twice")
    return {label: read_results(folder) for label, folder in zip(labels, folders, strict=True)}


def cost_weights(runs: Mapping[str, Results]) -> dict[str, dict[str, dict[str, float]]]:
    """Label -> cost weight -> metrics; {} where there is nothing to tell apart, since all questions have one weight."""
    known = {label: results.cost_weights for label, results in runs.items() if results.cost_weights}
    return known if len({weight for found in known.values() for weight in found}) > 1 else {}


def _em(datasets: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: row["em"] for name, row in datasets.items()}


def _csv(
    scores: dict[str, dict[str, float]],
    means: dict[str, dict[str, float]],
    by_weight: dict[tuple[str, str], dict[str, float]],
) -> str:
    """EM by data set, then what else is told of a run; empty where it is not known.

    A run, all its questions together, is followed by rows for each of its cost weights.
    """
    columns = [*ordered({name for row in scores.values() for name in row} - {"mean"}), "mean"]
    others = ["raw_cost", *(key for key, _ in (MEASURES | CONSTANT_MEASURES).values())]
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=["run", "cost_weight", *columns, *others], lineterminator="\n")
    writer.writeheader()
    for label, row in scores.items():
        known = means.get(label, {})
        writer.writerow({"run": label, **row, **{key: known.get(key, "") for key in others}})
        for (_, weight), found in ((key, found) for key, found in by_weight.items() if key[0] == label):
            told = {key: found.get(key, "") for key in others}
            writer.writerow({"run": label, "cost_weight": weight, "mean": found["em"], **told})
    return table.getvalue()
