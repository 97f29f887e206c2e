"""What finished runs came to, the page that tells it, and the command."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from router_r1.cli import main
from router_r1.findings.catalogue import FINDINGS, findings_named
from router_r1.findings.reading import read_training
from router_r1.findings.report import claims_sheet, collect, write_findings
from router_r1.findings.schedule import tasks_of
from router_r1.findings.verdicts import Claim
from router_r1.runs import SUMMARY_FILE
from router_r1.training import report
from tests.unit.findings.run_folders import SOURCES, record, row, write_benchmark, write_training

STEPS = {
    step: {"train/reward": step / 20, "train/em": 0.5, "train/raw_cost": 9.0, "train/routes": 1.0, "actor/entropy": 1.0}
    for step in range(1, 21)
}


def write_base(folder) -> None:
    after = {source: row(0.7, routes=float(number)) for number, source in enumerate(SOURCES)}
    write_training(folder, after=after, by_weight={0.0: row(0.8), 0.95: row(0.6, raw_cost=2.0)}, steps=STEPS)


def test_a_training_is_read_as_it_closed(tmp_path):
    """By the very code that ends a training."""
    write_base(tmp_path)
    (tmp_path / SUMMARY_FILE).unlink()
    assert read_training(tmp_path) is None

    report.close(tmp_path, Console(quiet=True))

    found = read_training(tmp_path)
    assert found is not None
    assert found.last["world_3hop"]["routes"] == 3.0
    assert found.last["mean"]["em_above_constant"] == 0.1
    assert found.first["mean"]["em"] == 0.2
    assert found.by_weight[0.95]["raw_cost"] == 2.0
    assert found.steps[20]["train/reward"] == 1.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"steps": 3}'], ids=["empty", "cut", "a list", "no validation"])
def test_a_summary_that_is_none_is_no_end(tmp_path, text):
    write_base(tmp_path)
    (tmp_path / SUMMARY_FILE).write_text(text)

    assert read_training(tmp_path) is None


def test_page_and_figures_say_what_holds_and_which_runs_are_missing(tmp_path):
    findings = findings_named("b,c,e")
    tasks = tasks_of(findings, 3, tmp_path)
    for task in tasks:
        if task.is_training:
            write_base(task.folder)
        elif task.name != "liar-seed2":
            write_benchmark(task.folder, [record(0, em=1.0, asked="film-light", offered=[("film-light", None)])])

    page = write_findings(tmp_path, findings, tasks).read_text()

    figures = json.loads((tmp_path / "findings.json").read_text())
    assert figures["missing_runs"] == ["liar-seed2"]
    calls = figures["findings"]["b"]["claims"]
    assert {claim["verdict"] for claim in calls} == {"holds"}
    assert calls[0]["by_seed"] == {"0": 1.0, "1": 1.0, "2": 1.0}
    assert calls[0]["interval"] == [1.0, 1.0]
    assert "1 runs have not ended" in page
    assert "2WikiMultihopQA 1.29" in page
    assert page.count("data:image/png;base64,") == 3
    assert (tmp_path / "b_routes.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_can_be_written_before_anything_has_ended(tmp_path):
    tasks = tasks_of(FINDINGS, 1, tmp_path)

    write_findings(tmp_path, FINDINGS, tasks)

    figures = json.loads((tmp_path / "findings.json").read_text())
    assert len(figures["missing_runs"]) == len(tasks)
    told = {claim["verdict"] for finding in figures["findings"].values() for claim in finding["claims"]}
    assert told == {"cannot be said"}


def test_a_run_that_has_not_ended_is_not_collected(tmp_path):
    tasks = tasks_of(findings_named("d"), 2, tmp_path)
    write_base(tasks[0].folder)
    write_training(tasks[1].folder, has_ended=False)

    found = collect(tasks)

    assert {name: list(seeds) for name, seeds in found.trained.items()} == {"base": [0]}


def test_an_interval_of_one_seed_is_left_empty():
    sheet = claims_sheet([Claim("one", {0: 0.25}), Claim("none", {})])

    assert sheet.rows == [("one", ["+0.250", "", "1", "cannot be said"]), ("none", ["", "", "0", "cannot be said"])]


# ---------------------------------------------------------------- the command


def test_list_shows_the_runs_and_who_needs_them_and_runs_nothing(tmp_path, capsys):
    write_base(tmp_path / "runs" / "base-seed1")

    assert main(["findings", "--list", "--only", "a,d", "--seeds", "3", "--out", str(tmp_path)]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["24", "runs"] in lines
    assert ["base", "the", "default", "a,", "d", "1", "of", "3"] in lines
    assert ["no-format", "~router_r1.reward.terms.format", "d", "0", "of", "3"] in lines
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "z"], "--only = 'z': is no finding; there are a, b, c"),
        (["--seeds", "0"], "--seeds = 0: must be above 0"),
        (["--budget-hours", "-1"], "--budget-hours = -1.0: must be above 0"),
        (["steps"], "steps"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, capsys, arguments, told):
    assert main(["findings", *arguments, "--list", "--out", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_call_with_everything_done_writes_the_report_and_shows_the_verdicts(tmp_path, capsys):
    for seed in range(3):
        write_base(tmp_path / "runs" / f"base-seed{seed}")
        json_file = tmp_path / "runs" / f"base-seed{seed}" / "run.json"
        json_file.write_text(json.dumps({"overrides": [f"seed={seed}", "runs_dir=runs"]}))

    assert main(["findings", "--only", "b", "--seeds", "3", "--out", str(tmp_path)]) == 0

    out = capsys.readouterr().out
    assert "3 of 3 runs are done already" in out
    assert "More routes for one hop than for a fact the policy knows" in " ".join(out.split())
    assert out.rstrip().endswith(f"report: {tmp_path / 'report.html'}")
