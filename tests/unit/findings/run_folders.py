"""Folders as finished trainings and benchmarks leave them, without any having run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from router_r1 import runs
from router_r1.atomic import write_text
from router_r1.benchmark.metrics import summarise, write_results
from router_r1.benchmark.records import Record
from router_r1.findings.reading import Benched, Trained
from router_r1.training.report import cost_curve, validation_table

SOURCES = ("world_known", "world_1hop", "world_2hop", "world_3hop")


def row(em: float = 0.5, **others: float) -> dict[str, float]:
    """Measures of a validation."""
    measures = {"em": em, "f1": em, "reward": em, "format": 0.0, "raw_cost": 10.0, "routes": 1.0}
    own = {"top_share": 0.3, "effective_candidates": 6.0, "kind_information": 1.5, "em_above_constant": 0.1}
    return measures | own | others


_VERLS = ("em", "f1", "reward", "format", "raw_cost", "routes")


def validation_metrics(
    by_source: Mapping[str, Mapping[str, float]], by_weight: Mapping[float, Mapping[str, float]] | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """What veRL logs of a validation, and what `validation/<step>.json` has beside it."""
    logged = {f"val-aux/{name}/{m}/mean@1": x[m] for name, x in by_source.items() for m in _VERLS}
    ours = {f"val/{name}/{m}": value for name, x in by_source.items() for m, value in x.items() if m not in _VERLS}
    first = next(iter(by_source.values()))
    ours |= {f"val/{m}": value for m, value in first.items() if m not in _VERLS}
    for weight, measures in (by_weight or {}).items():
        ours |= {f"val/cost_weight_{weight:g}/{m}": value for m, value in measures.items()}
    return logged, ours


def write_training(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    before: Mapping[str, Mapping[str, float]] | None = None,
    after: Mapping[str, Mapping[str, float]] | None = None,
    by_weight: Mapping[float, Mapping[str, float]] | None = None,
    steps: Mapping[int, Mapping[str, float]] | None = None,
    has_ended: bool = True,
) -> None:
    """A training's folder: run.json, metrics, measures of the validations, and summary.json if it has ended."""
    runs.write_run_json(folder, {"name": folder.name, "overrides": list(overrides), "template": "tiny"})
    last = max(steps or {60: {}})
    checks = {0: before or {"world_1hop": row(0.2)}, last: after or {"world_1hop": row(0.7)}}
    data = {step: dict(found) for step, found in (steps or {}).items()}
    for step, by_source in checks.items():
        logged, ours = validation_metrics(by_source, by_weight if step == last else None)
        data.setdefault(step, {}).update(logged)
        write_text(runs.validation_measures_file(folder, step), json.dumps(ours))
    lines = [json.dumps({"step": step, "data": data[step]}) + "\n" for step in sorted(data)]
    write_text(folder / "metrics" / "0.jsonl", "".join(lines))
    if has_ended:
        metrics = runs.read_metrics(folder)
        summary = {
            "steps": last,
            "validation": {step: validation_table(metrics[step]) for step in checks},
            "cost_curve": {f"{weight:g}": found for weight, found in cost_curve(metrics[last]).items()},
        }
        write_text(folder / runs.SUMMARY_FILE, json.dumps(summary))


def trained(
    after: Mapping[str, float],
    *,
    before: Mapping[str, float] | None = None,
    by_weight: Mapping[float, Mapping[str, float]] | None = None,
    steps: Mapping[int, Mapping[str, float]] | None = None,
    **sources: Mapping[str, float],
) -> Trained:
    """What a training came to; `after` is of all data sources together."""
    return Trained({"mean": before or row(0.2)}, {"mean": after, **sources}, by_weight or {}, steps or {})


def record(index: int, *, em: float, asked: str | None, offered: Sequence[tuple[str, str | None]]) -> Record:
    """A trajectory of one route or none.

    Args:
        offered: candidate and, if the deal changes it, descriptor.
    """
    route = {"candidate": asked, "prompt_tokens": 5, "completion_tokens": 6, "raw_cost": 1.0}
    turn = {"text": "", "action": "search", "invalid_reason": "", "route": route if asked else None, "observation": ""}
    dealt = [{"name": f"N{n}", "candidate": name, "descriptor": says} for n, (name, says) in enumerate(offered)]
    return {
        "data_source": "world_1hop", "kind": "film", "cost_weight": 0.0, "id": f"q{index}", "index": index, "sample": 0,
        "question": "Who?", "candidates": dealt, "golden_answers": ["A"], "em": em, "f1": em, "format_error": "",
        "latency_s": 0.1, "answer": "A", "status": "answered", "routes": int(asked is not None), "failed_routes": 0,
        "raw_cost": 1.0, "spend_usd": 0.0, "policy_tokens": 9, "turns": [turn],
    }  # fmt: skip


def benched(records: Sequence[Record]) -> Benched:
    """What a benchmark came to."""
    names = sorted({str(entry["candidate"]) for one in records for entry in one["candidates"] or []})
    return Benched(summarise(records, names), list(records))


def write_benchmark(folder: Path, records: Sequence[Record]) -> None:
    """A finished benchmark's folder: its trajectories and results."""
    write_text(folder / "trajectories.jsonl", "".join(json.dumps(one) + "\n" for one in records))
    write_results(folder, benched(records).results, {})
