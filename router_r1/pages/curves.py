"""The curves of a training, told to a page that asks again and again for what is new.

A page holds a cursor: which start of the trainer it reads (`runs.read_metrics`), and how many bytes of that file it has
seen. A reply holds whole lines only, some megabytes at most, and the next cursor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router_r1.constant_routers import EM_ABOVE_CONSTANT
from router_r1.measures import EFFECTIVE_CANDIDATES, TOP_SHARE
from router_r1.runs import read_validation_measures
from router_r1.training.report import validation_table

_BYTES_AT_A_TIME = 4_000_000
_CURSOR = re.compile(r"(\d{1,9}):(\d{1,15})")

_TRAINING = {
    "reward": "train/reward",
    "em": "train/em",
    "raw_cost": "train/raw_cost",
    "entropy": "actor/entropy",
    "routes": "train/routes",
    TOP_SHARE: f"train/{TOP_SHARE}",
    EFFECTIVE_CANDIDATES: f"train/{EFFECTIVE_CANDIDATES}",
}
"""Curve -> metric of a step."""

_VALIDATION = ("reward", "em", "raw_cost", "routes", TOP_SHARE, EFFECTIVE_CANDIDATES, EM_ABOVE_CONSTANT)
"""Curves of a validation, from the mean over its data sources."""

_SHARE, _PHASE = "train/candidate/", "timing_s/"
_WHOLE_STEP = "step"  # the phase that is all others together


@dataclass(frozen=True)
class NewSteps:
    """What is new since a cursor."""

    rows: list[dict[str, Any]]
    """One per step: curves, `shares` by candidate, `seconds` by phase, `validation` with the curves of one."""
    cursor: str
    """To ask for what comes after."""
    kept_to: int | None
    """Forget the steps after this one first: the trainer was started again there. -1: forget all."""
    more: bool
    """There is more to be had at once."""


def new_steps(run_dir: Path, cursor: str) -> NewSteps:
    """What a run has logged since a cursor.

    Args:
        cursor: of the last reply; "" for everything. One that does not fit the run begins anew.
    """
    starts = sorted(int(file.stem) for file in (run_dir / "metrics").glob("*.jsonl") if file.stem.isdecimal())
    if not starts:
        return NewSteps([], "", -1 if cursor else None, False)
    known = _CURSOR.fullmatch(cursor)
    start, offset = (int(known[1]), int(known[2])) if known else (starts[0], 0)
    kept_to = None if known else -1
    if start not in starts or offset > _file(run_dir, start).stat().st_size:
        start, offset, kept_to = starts[0], 0, -1
    rows, end, is_cut = _read(run_dir, start, offset)
    if is_cut:
        return NewSteps(rows, f"{start}:{end}", kept_to, True)
    later = next((other for other in starts if other > start), None)
    if later is None:
        return NewSteps(rows, f"{start}:{end}", kept_to, False)
    if not rows and kept_to is None:
        return NewSteps([], f"{later}:0", later, True)
    return NewSteps(rows, f"{start}:{end}", kept_to, True)


def last_logged_s(run_dir: Path) -> float | None:
    """When a run last logged a step, in seconds since the epoch; None if it has logged none."""
    times = [file.stat().st_mtime for file in (run_dir / "metrics").glob("*.jsonl")]
    return max(times, default=None)


def _file(run_dir: Path, start: int) -> Path:
    return run_dir / "metrics" / f"{start}.jsonl"


def _read(run_dir: Path, start: int, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
    """Rows from an offset, the offset behind the last of them, and whether there are more."""
    rows: list[dict[str, Any]] = []
    with _file(run_dir, start).open("rb") as file:
        file.seek(offset)
        end = offset
        while end - offset < _BYTES_AT_A_TIME:
            line = file.readline()
            if not line.endswith(b"\n"):  # the end, or a line that is still on its way
                return rows, end, False
            end += len(line)
            if row := _row(run_dir, line):
                rows.append(row)
    return rows, end, True


def _row(run_dir: Path, line: bytes) -> dict[str, Any] | None:
    """A step's curves; None if the line is none of the trainer's."""
    try:
        record = json.loads(line)
        step, metrics = int(record["step"]), {str(name): float(value) for name, value in record["data"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    row: dict[str, Any] = {"step": step}
    row |= {curve: metrics[name] for curve, name in _TRAINING.items() if name in metrics}
    row["shares"] = _section(metrics, _SHARE)
    row["seconds"] = _section(metrics, _PHASE)
    row["seconds"].pop(_WHOLE_STEP, None)
    if any(name.startswith("val-") for name in metrics):
        row["validation"] = _validation(metrics | read_validation_measures(run_dir, step))
    return row


def _section(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The metrics whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _validation(metrics: Mapping[str, float]) -> dict[str, float]:
    try:
        mean = validation_table(metrics)["mean"]
    except (KeyError, IndexError):  # written by another version
        return {}
    return {curve: mean[curve] for curve in _VALIDATION if curve in mean}
