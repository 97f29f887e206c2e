"""What finished runs came to, read from the files that they left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router_r1.benchmark.metrics import Results, read_results
from router_r1.benchmark.records import Record, read_records
from router_r1.benchmark.runner import TRAJECTORIES_FILE
from router_r1.runs import SUMMARY_FILE, read_metrics

Row = Mapping[str, float]
"""Measure -> value."""
BySeed = dict[int, float]

MEAN = "mean"
"""Beside the data sources, what is said of all of them."""


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    first: Mapping[str, Row]
    """Data source, or `MEAN` -> measures of the validation before the training."""
    last: Mapping[str, Row]
    """The same of the last validation."""
    by_weight: Mapping[float, Row]
    """Cost weight -> measures of the last validation's questions that have it; {} unless alpha was sampled."""
    steps: Mapping[int, Row]
    """Step -> all metrics."""


@dataclass(frozen=True)
class Benched:
    """A finished benchmark."""

    results: Results
    records: list[Record]


@dataclass(frozen=True)
class Found:
    """All finished runs: name -> seed -> what it came to. A name without a finished run is not there."""

    trained: Mapping[str, Mapping[int, Trained]] = field(default_factory=dict)
    benched: Mapping[str, Mapping[int, Benched]] = field(default_factory=dict)

    def of(self, name: str, value: Callable[[Trained], float | None]) -> BySeed:
        """Seed -> a number of each training of that name; a run that lacks it is left out."""
        return _known({seed: value(run) for seed, run in self.trained.get(name, {}).items()})

    def last(self, name: str, measure: str, source: str = MEAN) -> BySeed:
        """Seed -> a measure of the last validation."""
        return self.of(name, lambda run: run.last.get(source, {}).get(measure))

    def of_benchmark(self, name: str, value: Callable[[Benched], float | None]) -> BySeed:
        """Seed -> a number of each benchmark of that name."""
        return _known({seed: value(run) for seed, run in self.benched.get(name, {}).items()})


def _known(values: Mapping[int, float | None]) -> BySeed:
    return {seed: value for seed, value in sorted(values.items()) if value is not None}


def read_training(folder: Path) -> Trained | None:
    """None for a run that has not ended, or was not validated."""
    summary = read_summary(folder)
    if summary is None:
        return None
    validated = {int(step): rows for step, rows in summary["validation"].items()}
    curve = {float(weight): row for weight, row in summary.get("cost_curve", {}).items()}
    return Trained(validated[min(validated)], validated[max(validated)], curve, read_metrics(folder))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """What a training writes when it has ended; None if there is none, or none of ours."""
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("validation") else None


def read_benchmark(folder: Path) -> Benched:
    """Raises:
    ConfigError: it has not ended.
    """
    return Benched(read_results(folder), read_records(folder / TRAJECTORIES_FILE))
