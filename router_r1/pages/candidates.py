"""Which candidates runs and benchmarks tell of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from router_r1.benchmark.metrics import RESULTS_FILE
from router_r1.pages.folders import Folder

_SHARE_IN_RESULTS, _SHARE_IN_METRICS = "share/", "train/candidate/"
_LINES = 3  # of a run's metrics: every step has all candidates, and the first may be a validation alone


def candidates_of(folders: Iterable[Folder]) -> set[str]:
    """The names of all of them."""
    found: set[str] = set()
    for folder in folders:
        try:
            found |= set(_of_run(folder.path) if folder.kind == "run" else _of_benchmark(folder.path))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not there yet, or none of ours
            continue
    return found


def _of_run(run_dir: Path) -> Iterator[str]:
    for file in (run_dir / "metrics").glob("*.jsonl"):
        with file.open("rb") as lines:
            for line in islice(lines, _LINES):
                yield from _named(json.loads(line)["data"], _SHARE_IN_METRICS)


def _of_benchmark(folder: Path) -> Iterator[str]:
    yield from _named(json.loads((folder / RESULTS_FILE).read_bytes())["mean"], _SHARE_IN_RESULTS)


def _named(metrics: Iterable[str], prefix: str) -> Iterator[str]:
    return (name.removeprefix(prefix) for name in metrics if name.startswith(prefix))
