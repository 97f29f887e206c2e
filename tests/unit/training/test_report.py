"""What a run shows of itself."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from router_r1.training import report


def validation(source: str, em: float, fmt: float = 0.0) -> dict[str, float]:
    measures = {"reward": em, "em": em, "f1": em, "raw_cost": 10.0, "routes": 1.0, "format": fmt}
    return {f"val-aux/{source}/{name}/mean@1": value for name, value in measures.items()}


def training(em: float) -> dict[str, float]:
    names = ("reward", "em", "raw_cost", "routes")
    return {f"train/{n}": em for n in names} | {"train/format": -0.25, "actor/entropy": 0.7, "timing_s/step": 2.0}


def test_validation_measures_are_read_from_verls_names_whatever_section_they_stand_in():
    metrics = validation("nq", 0.5) | {"val-core/nq/reward/mean@1": 0.4, "val-aux/num_turns/mean": 2.0, "actor/lr": 1.0}

    by_source = report.validation_by_source(metrics)

    assert list(by_source) == ["nq"]
    assert by_source["nq"] | {"em": 0.5, "reward": 0.4, "format_valid": 1.0} == by_source["nq"]


def test_the_mean_over_data_sources_is_unweighted():
    assert report.overall({"a": {"em": 0.2}, "b": {"em": 0.6}}) == {"em": pytest.approx(0.4)}


def test_a_line_appears_for_each_finished_step_and_only_once(tmp_path):
    file = tmp_path / "0.jsonl"
    lines = report.StepLines(file, total_steps=40)
    assert lines.new() == []

    record = json.dumps({"step": 3, "data": training(0.25)})
    file.write_text(record + "\n" + record[:20])

    (line,) = lines.new()
    assert "step    3/40" in line
    assert "EM 0.250" in line
    assert "format 0.750" in line
    assert lines.new() == []


def test_closing_writes_table_summary_and_picture(tmp_path):
    (tmp_path / "metrics").mkdir()
    rows = [(0, validation("world_1hop", 0.3)), (1, training(0.4)), (2, training(0.6) | validation("world_1hop", 0.9))]
    (tmp_path / "metrics" / "0.jsonl").write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows))
    console = Console(record=True, width=140)

    report.close(tmp_path, console)

    assert "0.300 → 0.900" in console.export_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["validation"]["2"]["mean"]["em"] == 0.9
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
