"""Benchmark results: per data set, the mean over data sets, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from router_r1 import measures
from router_r1.atomic import write_text
from router_r1.benchmark.records import Record
from router_r1.constant_routers import CandidateTable, Score, compare, described, frontier
from router_r1.errors import ConfigError
from router_r1.protocol import Status
from router_r1.runs import METHODS_FOLDER

RESULTS_FILE = "results.json"
COUNTS = ("n", "trajectories", "failed_routes", "failed_trajectories")
"""Added up over data sets; everything else but the measures of routing is averaged, each data set weighing the same."""

_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)  # percentiles: 95 %

Row = dict[str, float]


@dataclass(frozen=True)
class Results:
    """Metrics of every data set, and their unweighted mean.

    The measures of routing stand beside that mean, but are of all data sets together: averaged they would say nothing
    of a router that asks another candidate for each data set.
    """

    datasets: dict[str, Row]
    mean: Row
    cost_weights: dict[str, Row] = field(default_factory=dict)
    """Cost weight (`0.6`) -> the mean over data sets of the questions that have it; {} if none have one."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """What can be had by asking one candidate each (`constant_routers.described`); {} if they were not asked."""
    title: str = ""
    """What a contest of methods calls the method; "" for a benchmark by itself."""

    @property
    def hull(self) -> list[Score]:
        """The best constant at each cost, the cheapest first; [] where it is not known."""
        return [Score(corner["em"], corner["raw_cost"]) for corner in self.constants.get("hull", [])]


def summarise(records: Sequence[Record], candidates: Sequence[str], table: CandidateTable | None = None) -> Results:
    """Metrics of a benchmark; data sets in alphabetical order.

    `em`, `f1` and `format_ok` are shares; `em_low` and `em_high` bound the 95 % bootstrap interval of `em`; `raw_cost`
    (micro-USD of output), `spend_usd`, `routes`, `turns` and token counts are means per trajectory; latencies are in
    seconds; `top_share`, `effective_candidates` and `kind_information` (bits) are those of `measures`;
    `share/<candidate>` is that candidate's share of all routes, `status/<status>` of all trajectories. The `format_ok`
    of a method without a policy is 1: it has no format to keep. `best_constant_em`, `em_above_constant`, `oracle_em`,
    `regret`, `kind_oracle_em` and `kind_regret` are those of `constant_routers`, where the candidates were asked.

    Args:
        candidates: the names of the pool.
        table: what every candidate said to every question; None if they were not asked.
    """
    datasets, mean = _by_dataset(records, candidates)
    if table is not None:
        for source, row in datasets.items():
            row |= _against_constants([r for r in records if r["data_source"] == source], table)
        mean |= _against_constants(records, table)
    constants = described(table) if table is not None else {}
    return Results(datasets, mean, _by_cost_weight(records, candidates, table), constants)


def _by_cost_weight(
    records: Sequence[Record], candidates: Sequence[str], table: CandidateTable | None
) -> dict[str, Row]:
    """Metrics of the questions of each weight.

    The constant routers beside them are those of all questions: few questions flatter a constant, and what a weight's
    are is chance.
    """
    hull = frontier(table) if table is not None else None
    groups: dict[float, list[Record]] = {}
    for record in records:
        if (weight := record.get("cost_weight")) is not None:
            groups.setdefault(weight, []).append(record)
    found = {f"{weight:g}": _by_dataset(groups[weight], candidates)[1] for weight in sorted(groups)}
    for row in found.values():
        row |= hull.as_metrics(row["em"], row["raw_cost"]) if hull else {}
    return found


def _by_dataset(records: Sequence[Record], candidates: Sequence[str]) -> tuple[dict[str, Row], Row]:
    """Metrics of every data set, and their mean."""
    groups: dict[str, list[Record]] = {}
    # The order in which trajectories finish must not move the last digit of a mean.
    for record in sorted(records, key=lambda r: (r["data_source"], r["index"], r["sample"])):
        groups.setdefault(record["data_source"], []).append(record)
    scores = {source: _question_means(group) for source, group in groups.items()}
    datasets = {source: _summary(group, candidates, scores[source]) for source, group in groups.items()}
    rows = list(datasets.values())
    mean = {
        key: float(sum(row[key] for row in rows)) if key in COUNTS else _mean([row[key] for row in rows])
        for key in rows[0]
    }
    mean["em_low"], mean["em_high"] = bootstrap_interval(list(scores.values()))
    mean |= _route_measures(records)
    return datasets, mean


def _against_constants(records: Sequence[Record], table: CandidateTable) -> Row:
    """{} if the candidates were asked none of these questions."""
    found = compare(table, [((r["data_source"], r["index"]), r["em"], r["raw_cost"]) for r in records])
    return found.as_metrics() if found else {}


def _question_means(group: Sequence[Record]) -> np.ndarray:
    """Mean EM of each question over its samples. [num_questions]"""
    by_question: dict[int, list[float]] = {}
    for record in group:
        by_question.setdefault(record["index"], []).append(record["em"])
    return np.array([np.mean(values) for values in by_question.values()])


def bootstrap_interval(scores: Sequence[np.ndarray], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13) of the mean over data sets.

    Questions are drawn anew within each data set. Samples of one question are not independent, and so stay together.

    Args:
        scores: per data set, the score of every question. [num_questions]
        seed: of the draw.
    """
    draw = np.random.default_rng(seed)
    drawn = [values[draw.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1) for values in scores]
    means = np.mean(drawn, axis=0)  # [_RESAMPLES]
    low, high = np.percentile(means, _INTERVAL)
    return float(low), float(high)


def _routes(record: Record) -> list[dict[str, Any]]:
    return [turn["route"] for turn in record["turns"] if turn["route"]]


def _route_measures(records: Sequence[Record]) -> Row:
    asked = [[route["candidate"] for route in _routes(record)] for record in records]
    kinds = [record.get("kind", record["data_source"]) for record in records]
    return measures.route_measures(
        Counter(name for names in asked for name in names),
        [(kind, names[0]) for kind, names in zip(kinds, asked, strict=True) if names],
    )


def _summary(group: Sequence[Record], candidates: Sequence[str], scores: np.ndarray) -> Row:
    routes = [route for record in group for route in _routes(record)]
    latencies = [record["latency_s"] for record in group]
    low, high = bootstrap_interval([scores])
    return {
        "n": float(len(scores)),
        "trajectories": float(len(group)),
        "em": _mean([r["em"] for r in group]),
        "em_low": low,
        "em_high": high,
        "f1": _mean([r["f1"] for r in group]),
        "format_ok": _mean([not r["format_error"] for r in group]),
        "raw_cost": _mean([r["raw_cost"] for r in group]),
        "spend_usd": _mean([r["spend_usd"] for r in group]),
        "routes": _mean([r["routes"] for r in group]),
        "turns": _mean([len(r["turns"]) for r in group]),
        "failed_routes": float(sum(r["failed_routes"] for r in group)),
        "failed_trajectories": float(sum(r["failed_routes"] > 0 for r in group)),
        "tokens_in": sum(route["prompt_tokens"] for route in routes) / len(group),
        "tokens_out": sum(route["completion_tokens"] for route in routes) / len(group),
        "policy_tokens": _mean([r["policy_tokens"] for r in group]),
        "latency_p50_s": float(np.percentile(latencies, 50)),
        "latency_p95_s": float(np.percentile(latencies, 95)),
        **_route_measures(group),
        **{
            f"share/{name}": sum(route["candidate"] == name for route in routes) / len(routes) if routes else 0.0
            for name in candidates
        },
        **{f"status/{status.value}": _mean([r["status"] == status.value for r in group]) for status in Status},
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


# ---------------------------------------------------------------- files


def write_results(folder: Path, results: Results, facts: Mapping[str, Any]) -> None:
    """Write `results.json` (with the facts they depend on) and `results.csv`, each whole or not at all."""
    found = {"datasets": results.datasets, "mean": results.mean, "cost_weights": results.cost_weights}
    if results.constants:
        found["constants"] = results.constants
    found |= facts
    write_text(folder / RESULTS_FILE, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=["dataset", *results.mean], lineterminator="\n")
    writer.writeheader()
    for name, row in [*results.datasets.items(), ("mean", results.mean)]:
        writer.writerow({"dataset": name, **row})
    write_text(folder / "results.csv", table.getvalue())


def read_results(folder: Path) -> Results:
    """What `write_results` wrote.

    Raises:
        ConfigError: there are no results, or they are none of ours.
    """
    file = folder / RESULTS_FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        weights, constants = found.get("cost_weights", {}), found.get("constants", {})
        return Results(found["datasets"], found["mean"], weights, constants, str(found.get("title", "")))
    except OSError as fault:
        raise ConfigError(file, "", None, f"cannot be read: {fault.strerror}; name a folder of test.sh") from None
    except (ValueError, KeyError, TypeError) as fault:
        remedy = f"holds no results of test.sh: {fault!r}"
        if (methods := folder / METHODS_FOLDER).is_dir():
            remedy = f"is of several methods; name the folders of those to compare: {methods}/..."
        raise ConfigError(file, "", None, remedy) from None
