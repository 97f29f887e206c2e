"""What a run says of itself: a line per step while it trains, a table and a picture when it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from router_r1.atomic import write_text
from router_r1.runs import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # imported for real only when a picture is drawn

_COLUMNS = {"EM": "em", "F1": "f1", "raw cost": "raw_cost", "routes": "routes", "format": "format_valid"}
"""Heading -> measure of the closing table."""

Scores = Mapping[str, Mapping[str, float]]
"""Data source -> metric -> value."""


class StepLines:
    """Turns the metric file of a running trainer into one readable line per step."""

    def __init__(self, metrics: Path, total_steps: int) -> None:
        self._path, self._total, self._offset = metrics, total_steps, 0

    def new(self) -> list[str]:
        """The lines of the steps that were logged since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            chunk = file.read()
        whole = chunk[: chunk.rfind(b"\n") + 1]  # the last line may still be on its way
        self._offset += len(whole)
        records = [json.loads(line) for line in whole.splitlines()]
        return [line for record in records for line in self._lines(record["step"], record["data"])]

    def _lines(self, step: int, m: Mapping[str, float]) -> list[str]:
        lines = []
        if "train/reward" in m:
            lines.append(
                f"step {step:>4}/{self._total}  reward {m['train/reward']:6.3f}  EM {m['train/em']:.3f}  "
                f"raw cost {m['train/raw_cost']:6.1f}  routes {m['train/routes']:.2f}  "
                f"format {1 + m['train/format']:.3f}  entropy {m.get('actor/entropy', float('nan')):.3f}  "
                f"{m['timing_s/step']:.1f} s"
            )
        if validation := validation_by_source(m):
            parts = (f"{name} EM {row['em']:.3f} raw cost {row['raw_cost']:.1f}" for name, row in validation.items())
            lines.append(f"validation at step {step}: " + " · ".join(parts))
        return lines


def validation_by_source(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Data source -> mean of each measure, from veRL's names (`val-aux/<source>/<measure>/mean@<n>`)."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        section, _, rest = name.partition("/")
        source, _, rest = rest.partition("/")
        measure, _, statistic = rest.rpartition("/")
        if section in ("val-core", "val-aux") and measure and statistic.startswith("mean@"):
            found.setdefault(source, {})[measure] = value
    for row in found.values():
        row["format_valid"] = 1.0 + row["format"]
    return {source: found[source] for source in sorted(found)}


def overall(by_source: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The unweighted mean over data sources of every measure."""
    rows = list(by_source.values())
    return {measure: sum(row[measure] for row in rows) / len(rows) for measure in rows[0]}


def close(run_dir: Path, console: Console) -> None:
    """Print the closing table, and write `summary.json` and `curves.png`."""
    metrics = read_metrics(run_dir)
    validated = {step: found for step, row in sorted(metrics.items()) if (found := validation_by_source(row))}
    if validated:
        first, last = min(validated), max(validated)
        console.print(_table(first, validated[first], last, validated[last]))
        summary = {
            "steps": max(metrics),
            "validation": {step: {**rows, "mean": overall(rows)} for step, rows in validated.items()},
        }
        write_text(run_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw_curves(metrics, run_dir / "curves.png")
    console.print(f"curves: {run_dir / 'curves.png'}")


def _table(first: int, before: Scores, last: int, after: Scores) -> Table:
    table = Table(title=f"validation before (step {first}) and after (step {last})")
    table.add_column("questions")
    for heading in _COLUMNS:
        table.add_column(heading, justify="right")
    rows = {source: (before.get(source), after[source]) for source in after}
    rows["mean"] = (overall(before), overall(after))
    for source, (old, new) in rows.items():
        cells = [f"{old[m]:.3f} → {new[m]:.3f}" if old else f"{new[m]:.3f}" for m in _COLUMNS.values()]
        table.add_row(source, *cells, end_section=source == list(after)[-1])
    return table


def draw_curves(metrics: Mapping[int, Mapping[str, float]], path: Path) -> None:
    """Reward, EM, raw cost and entropy by step; validation as points where there is any."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6.5), sharex=True, layout="constrained")
    panels = [
        ("reward", "train/reward", "reward"),
        ("exact match", "train/em", "em"),
        ("raw cost per question (micro-USD)", "train/raw_cost", "raw_cost"),
        ("policy entropy (nats per token)", "actor/entropy", None),
    ]
    for axis, (title, name, measure) in zip(axes.flat, panels, strict=True):
        steps = [step for step in sorted(metrics) if name in metrics[step]]
        _line(axis, steps, [metrics[step][name] for step in steps], "training batch")
        checks = {s: found for s in sorted(metrics) if (found := validation_by_source(metrics[s]))}
        if measure and checks:
            means = [overall(rows)[measure] for rows in checks.values()]
            axis.plot(list(checks), means, "o--", label="validation mean")
            for source in next(iter(checks.values())):
                axis.plot(list(checks), [rows[source][measure] for rows in checks.values()], ".:", label=source)
        axis.set_title(title)
        axis.grid(alpha=0.3)
    axes[0, 1].legend(fontsize=8)
    for axis in axes[1]:
        axis.set_xlabel("training step")
    # Matplotlib writes in place: the picture appears under its name only when it is whole.
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120)
    plt.close(figure)
    temporary.replace(path)


def _line(axis: Axes, steps: Sequence[int], values: Sequence[float], label: str) -> None:
    axis.plot(steps, values, color="tab:gray", alpha=0.8, linewidth=1.2, label=label)
