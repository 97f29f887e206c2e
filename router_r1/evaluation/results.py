"""Benchmark results: per data set, the mean over data sets, and the files they are kept in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from router_r1.atomic import write_text
from router_r1.protocol import Trajectory
from router_r1.rewards.compose import Reward

COUNTS = ("n", "trajectories", "failed_routes", "failed_trajectories")
"""Added up over data sets; everything else is averaged, each data set weighing the same."""


@dataclass(frozen=True)
class Scored:
    """One finished trajectory of a benchmark."""

    data_source: str
    index: int
    trajectory: Trajectory
    reward: Reward
    latency_s: float  # from its first request to its end, with all others in flight


Row = dict[str, float]


def summarise(scored: Sequence[Scored]) -> dict[str, Row]:
    """Data source -> metrics, in alphabetical order.

    `em`, `f1` and `format_ok` are shares; `raw_cost` (micro-USD of output), `spend_usd`, `routes`, `turns` and token
    counts are means per trajectory; latencies are in seconds; `share/<candidate>` is that candidate's share of all
    routes, `status/<status>` of all trajectories.
    """
    groups: dict[str, list[Scored]] = {}
    for one in scored:
        groups.setdefault(one.data_source, []).append(one)
    return {source: _summary(groups[source]) for source in sorted(groups)}


def _summary(group: Sequence[Scored]) -> Row:
    rewards = [one.reward for one in group]
    routes = [route for one in group for route in one.trajectory.routes]
    latencies = [one.latency_s for one in group]
    metrics = [reward.as_metrics() for reward in rewards]
    return {
        "n": float(len({one.index for one in group})),
        "trajectories": float(len(group)),
        **{key: _mean([m[key] for m in metrics]) for key in ("em", "f1")},
        "format_ok": _mean([not reward.format_error for reward in rewards]),
        **{key: _mean([m[key] for m in metrics]) for key in ("raw_cost", "spend_usd", "routes", "turns")},
        "failed_routes": float(sum(reward.failed_routes for reward in rewards)),
        "failed_trajectories": float(sum(reward.failed_routes > 0 for reward in rewards)),
        "tokens_in": sum(route.prompt_tokens for route in routes) / len(group),
        "tokens_out": sum(route.completion_tokens for route in routes) / len(group),
        "policy_tokens": _mean([sum(one.trajectory.response_mask) for one in group]),
        "latency_p50_s": float(np.percentile(latencies, 50)),
        "latency_p95_s": float(np.percentile(latencies, 95)),
        **{f"share/{name}": _share(name, rewards) for name in rewards[0].candidates},
        **{key: _mean([m[key] for m in metrics]) for key in metrics[0] if key.startswith("status/")},
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _share(name: str, rewards: Sequence[Reward]) -> float:
    """The candidate's share of all routes; 0 where there were none."""
    total = sum(reward.routes for reward in rewards)
    return sum(reward.candidates[name] for reward in rewards) / total if total else 0.0


def over_all(datasets: Mapping[str, Row]) -> Row:
    """Counts added up, all else the unweighted mean over the data sets."""
    rows = list(datasets.values())
    return {
        key: float(sum(row[key] for row in rows)) if key in COUNTS else _mean([row[key] for row in rows])
        for key in rows[0]
    }


def write_results(folder: Path, datasets: Mapping[str, Row], facts: Mapping[str, Any]) -> None:
    """Write `results.json` (with the facts they depend on) and `results.csv`, each whole or not at all."""
    mean = over_all(datasets)
    text = json.dumps({"datasets": datasets, "mean": mean, **facts}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "results.json", text + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=["dataset", *mean], lineterminator="\n")
    writer.writeheader()
    for name, row in [*datasets.items(), ("mean", mean)]:
        writer.writerow({"dataset": name, **row})
    write_text(folder / "results.csv", table.getvalue())
