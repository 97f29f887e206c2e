"""What a run says of itself: a line per step while it trains, a table and a picture when it ends."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from router_r1 import constant_routers, measures
from router_r1.atomic import write_text
from router_r1.candidate_answers import read_table
from router_r1.constant_routers import BEST_CONSTANT_EM, EM_ABOVE_CONSTANT, ORACLE_EM, Score, described
from router_r1.measures import COST_WEIGHT, EFFECTIVE_CANDIDATES, KIND_INFORMATION, TOP_SHARE
from router_r1.printable import printable
from router_r1.runs import SUMMARY_FILE, constants_file, read_metrics, read_validation_measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # imported for real only when a picture is drawn

_COLUMNS = {"EM": "em", "F1": "f1", "raw cost": "raw_cost", "routes": "routes", "format": "format_valid"}
"""Heading -> measure of the closing tables."""

_OWN_COLUMNS = measures.COLUMNS | constant_routers.COLUMNS
_CURVE_COLUMNS = {"EM": "em", "raw cost": "raw_cost", "routes": "routes", **_OWN_COLUMNS}
"""The same for what veRL does not measure, and for the table by cost weight."""

COLLAPSED_SHARE = 0.95
COLLAPSE_STEPS = 5
"""A step's share moves by some points with the questions drawn and comes back; one that lasts five does not by chance:
they hold hundreds of routes. It is an eighth of the default run, so there is time left to stop it.
"""
_HELP = "docs/training.md#when-every-route-goes-to-one-candidate"
_REMEDY = "router_r1.exploration.dealt=1.0 router_r1.exploration.tau=0.1"
_MEAN = "mean"

Scores = Mapping[str, Mapping[str, float]]
"""Data source -> metric -> value."""


def new_metrics(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a growing metric file of veRL's from an offset on, and the offset behind them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read()
    whole = chunk[: chunk.rfind(b"\n") + 1]  # the last line may still be on its way
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


class StepLines:
    """Turns the metric file of a running trainer into one readable line per step."""

    def __init__(self, metrics: Path, total_steps: int) -> None:
        self._path, self._total, self._offset = metrics, total_steps, 0
        self._run_dir = metrics.parents[1]
        self._collapse = CollapseWatch(self._run_dir)

    def new(self) -> list[str]:
        """The lines of the steps that were logged since the last call."""
        records, self._offset = new_metrics(self._path, self._offset)
        return [line for record in records for line in self._lines(record["step"], record["data"])]

    def _lines(self, step: int, m: Mapping[str, float]) -> list[str]:
        lines = []
        if "train/reward" in m:
            lines.append(
                f"step {step:>4}/{self._total}  reward {m['train/reward']:6.3f}  EM {m['train/em']:.3f}  "
                f"raw cost {m['train/raw_cost']:6.1f}  routes {m['train/routes']:.2f}  "
                f"top share {m['train/top_share']:.2f}  "
                f"format {1 + m['train/format']:.3f}  entropy {m.get('actor/entropy', float('nan')):.3f}  "
                f"{_staleness(m)}{m['timing_s/step']:.1f} s"
            )
            if warning := self._collapse.after(m):
                lines.append(warning)
        if validation := validation_by_source(m):
            parts = [f"{name} EM {row['em']:.3f} raw cost {row['raw_cost']:.1f}" for name, row in validation.items()]
            found = read_validation_measures(self._run_dir, step)
            if found:
                parts.append(f"top share {found['val/top_share']:.2f}")
            if f"val/{EM_ABOVE_CONSTANT}" in found:
                best, above, most = (found[f"val/{m}"] for m in (BEST_CONSTANT_EM, EM_ABOVE_CONSTANT, ORACLE_EM))
                parts.append(f"best constant at that cost EM {best:.3f}, so {above:+.3f} · oracle {most:.3f}")
            elif constants_file(self._run_dir).exists():
                parts.append("best constant not known (train.log says why)")
            lines.append(f"validation at step {step}: " + " · ".join(parts))
        return lines


def _staleness(m: Mapping[str, float]) -> str:
    """How many versions of the policy a step's trajectories are behind, mean/max; "" if all are of the newest."""
    behind = "training/off_policy/trajectory_staleness_worst"
    most = m.get(f"{behind}/max", 0)
    return f"behind {m[f'{behind}/mean']:.2f}/{most:.0f}  " if most > 0 else ""


class CollapseWatch:
    """Says, once in a run, that nearly all routes of the last steps go to one candidate of several.

    Args:
        run_dir: where it may stand what that candidate alone would score.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._steps: deque[dict[str, float]] = deque(maxlen=COLLAPSE_STEPS)  # candidate -> routes per trajectory
        self._scores: deque[Score] = deque(maxlen=COLLAPSE_STEPS)
        self._has_warned = False

    def after(self, metrics: Mapping[str, float]) -> str:
        """A warning if there is one to give after a step with these metrics, else ""."""
        prefix = "train/candidate/"
        self._steps.append(
            {
                name.removeprefix(prefix): share * metrics["train/routes"]
                for name, share in metrics.items()
                if name.startswith(prefix)
            }
        )
        self._scores.append(Score(metrics["train/em"], metrics["train/raw_cost"]))
        routes = {name: sum(step[name] for step in self._steps) for name in self._steps[0]}
        total = sum(routes.values())
        if self._has_warned or len(self._steps) < COLLAPSE_STEPS or len(routes) < 2 or not total:
            return ""
        name = max(routes, key=lambda candidate: routes[candidate])
        share = routes[name] / total
        if share <= COLLAPSED_SHARE:
            return ""
        self._has_warned = True
        percent = math.floor(100 * share + 1e-9)
        told = f"{percent} % of the routes of the last {COLLAPSE_STEPS} steps go to {printable(name)}"
        return f"{told}{self._alone(name)}: see {_HELP}"

    def _alone(self, name: str) -> str:
        """What asking this candidate alone would score, and what to do about it; "" if that is not known."""
        table = read_table(constants_file(self._run_dir))
        alone = table.alone.get(name) if table else None
        if alone is None:
            return ""
        em = sum(score.em for score in self._scores) / len(self._scores)
        cost = sum(score.raw_cost for score in self._scores) / len(self._scores)
        return (
            f". {printable(name)} alone would score EM {alone.em:.2f} on the validation questions at a raw cost of "
            f"{alone.raw_cost:.3g}; the router had {em:.2f} at {cost:.3g} in these steps. {_REMEDY} keeps it trying"
        )


def validation_by_source(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Data source -> mean of each measure, from veRL's names (`val-aux/<source>/<measure>/mean@<n>`), and ours.

    Ours are the measures of routing (`val/<source>/<measure>`).
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        section, _, rest = name.partition("/")
        source, _, rest = rest.partition("/")
        measure, _, statistic = rest.rpartition("/")
        if section in ("val-core", "val-aux") and measure and statistic.startswith("mean@"):
            found.setdefault(source, {})[measure] = value
    for source, row in found.items():
        row["format_valid"] = 1.0 + row["format"]
        row.update(_measures(metrics, f"val/{source}/"))
    return {source: found[source] for source in sorted(found)}


def _measures(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """Our measures among the metrics; none in what an earlier version wrote."""
    return {name: metrics[prefix + name] for name in _OWN_COLUMNS.values() if prefix + name in metrics}


def overall(by_source: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The unweighted mean over data sources of every measure that all of them have."""
    rows = list(by_source.values())
    common = [measure for measure in rows[0] if all(measure in row for row in rows)]
    return {measure: sum(row[measure] for row in rows) / len(rows) for measure in common}


def validation_table(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """`validation_by_source`, and last their mean; in it the measures of routing are of all questions together."""
    by_source = validation_by_source(metrics)
    return {**by_source, _MEAN: overall(by_source) | _measures(metrics, "val/")} if by_source else {}


def cost_curve(metrics: Mapping[str, float]) -> dict[float, dict[str, float]]:
    """Cost weight -> measures of the validation's questions with that weight; {} unless alpha is sampled."""
    prefix = f"val/{COST_WEIGHT}"
    found: dict[float, dict[str, float]] = {}
    for name, value in metrics.items():
        weight, _, measure = name.removeprefix(prefix).partition("/")
        if name.startswith(prefix):
            found.setdefault(float(weight), {})[measure] = value
    return dict(sorted(found.items()))


def close(run_dir: Path, console: Console) -> None:
    """Print the closing tables, and write `summary.json` and `curves.png`."""
    metrics = read_metrics(run_dir)
    validated = {step: found for step, row in sorted(metrics.items()) if (found := validation_table(row))}
    if validated:
        first, last = min(validated), max(validated)
        title = f"before (step {first}) and after (step {last})"
        console.print(_table(f"validation {title}", _COLUMNS, validated[first], validated[last]))
        if TOP_SHARE in validated[last][_MEAN]:
            console.print(_table(f"routing {title}", measures.COLUMNS, validated[first], validated[last], "all"))
        if EM_ABOVE_CONSTANT in validated[last][_MEAN]:
            heading = f"asking without looking at the question, {title}"
            console.print(_table(heading, constant_routers.COLUMNS, validated[first], validated[last]))
        summary: dict[str, object] = {"steps": max(metrics), "validation": validated}
        if curve := cost_curve(metrics[last]):
            console.print(_curve_table(f"by cost weight, at step {last}", curve))
            summary["cost_curve"] = {f"{weight:g}": row for weight, row in curve.items()}
        if table := read_table(constants_file(run_dir)):
            summary["constants"] = described(table)
        write_text(run_dir / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")
    draw_curves(metrics, run_dir / "curves.png")
    console.print(f"curves: {run_dir / 'curves.png'}")


def _table(title: str, columns: Mapping[str, str], before: Scores, after: Scores, last: str = _MEAN) -> Table:
    """Data sources in rows, and last, under the name given, what is said of all of them."""
    table = Table(title=title)
    table.add_column("questions")
    for heading in columns:
        table.add_column(heading, justify="right")
    for source, new in after.items():
        old = before.get(source, {})
        cells = [_change(old.get(m), new.get(m)) for m in columns.values()]
        table.add_row(last if source == _MEAN else source, *cells, end_section=source == list(after)[-2])
    return table


def _change(old: float | None, new: float | None) -> str:
    """From what to what; empty if it was not measured."""
    if new is None:
        return ""
    return f"{new:.3f}" if old is None else f"{old:.3f} → {new:.3f}"


def _curve_table(title: str, curve: Mapping[float, Mapping[str, float]]) -> Table:
    table = Table(title=title)
    table.add_column("alpha")
    columns = {
        heading: measure for heading, measure in _CURVE_COLUMNS.items() if any(measure in row for row in curve.values())
    }
    for heading in columns:
        table.add_column(heading, justify="right")
    for weight, row in curve.items():
        table.add_row(f"{weight:g}", *(_change(None, row.get(measure)) for measure in columns.values()))
    return table


def draw_curves(metrics: Mapping[int, Mapping[str, float]], path: Path) -> None:
    """Reward, EM, raw cost, entropy, the measures of routing and EM above the best constant router, by step.

    Validation as points where there is any. Where alpha is sampled, the curve of the last validation over it stands
    beside them.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    checks = {step: found for step in sorted(metrics) if (found := validation_table(metrics[step]))}
    curve = cost_curve(metrics[max(checks)]) if checks else {}
    columns = 4 if curve else 3
    figure, axes = plt.subplots(3, columns, figsize=(4.7 * columns, 9.5), layout="constrained")
    panels = [
        ("reward", "train/reward", "reward"),
        ("exact match", "train/em", "em"),
        ("raw cost per question (micro-USD)", "train/raw_cost", "raw_cost"),
        ("policy entropy (nats per token)", "actor/entropy", None),
        ("share of the most used candidate", f"train/{TOP_SHARE}", TOP_SHARE),
        ("effective number of candidates", f"train/{EFFECTIVE_CANDIDATES}", EFFECTIVE_CANDIDATES),
        ("kind and candidate asked first (bits)", f"train/{KIND_INFORMATION}", KIND_INFORMATION),
        ("EM above the best constant at that cost", "", EM_ABOVE_CONSTANT),
    ]
    *drawn, last = axes[:, :3].flat
    for axis in drawn[1:]:
        axis.sharex(drawn[0])
    for axis, (title, name, measure) in zip(drawn, panels, strict=True):
        steps = [step for step in sorted(metrics) if name in metrics[step]]
        _line(axis, steps, [metrics[step][name] for step in steps], "training batch")
        known = {step: rows for step, rows in checks.items() if measure in rows[_MEAN]}
        if measure and known:
            axis.plot(list(known), [rows[_MEAN][measure] for rows in known.values()], "o--", label="validation")
            for source in (source for source in next(iter(known.values())) if source != _MEAN):
                values = [rows[source].get(measure, math.nan) for rows in known.values()]
                axis.plot(list(known), values, ".:", label=source)
            if measure == EM_ABOVE_CONSTANT:
                axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(title)
        axis.grid(alpha=0.3)
        axis.set_xlabel("training step")
    last.axis("off")
    last.legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    if curve:
        _draw_over_alpha(axes[0, 3], curve, "em", "exact match")
        _draw_over_alpha(axes[1, 3], curve, "raw_cost", "raw cost")
        _draw_over_alpha(axes[2, 3], curve, EM_ABOVE_CONSTANT, "EM above the best constant")
    # Matplotlib writes in place: the picture appears under its name only when it is whole.
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120)
    plt.close(figure)
    temporary.replace(path)


def _draw_over_alpha(axis: Axes, curve: Mapping[float, Mapping[str, float]], measure: str, title: str) -> None:
    axis.plot(list(curve), [row.get(measure, math.nan) for row in curve.values()], "o-", color="tab:purple")
    axis.set_title(f"{title},\nlast validation by cost weight")
    axis.set_xlabel("alpha")
    axis.grid(alpha=0.3)


def _line(axis: Axes, steps: Sequence[int], values: Sequence[float], label: str) -> None:
    axis.plot(steps, values, color="tab:gray", alpha=0.8, linewidth=1.2, label=label)
