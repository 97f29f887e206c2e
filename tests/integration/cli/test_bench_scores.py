"""`bench --scores`, as it is typed: a file of scores in, a table and a report out."""

from __future__ import annotations

import json

import pytest

from router_r1.exit_codes import ExitCode
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import RouterEntry
from tests.doubles.commands import bench
from tests.doubles.score_tables import LeastSquares, topical_table

for needed in ("jinja2", "matplotlib", "pyarrow", "safetensors", "sklearn"):
    pytest.importorskip(needed)


@pytest.fixture
def scores(tmp_path, monkeypatch):
    """A file of scores, and one fitted router to learn from it."""
    files = pytest.importorskip("router_r1.scores.files")
    samples = pytest.importorskip("router_r1.scores.samples")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in list(ROUTERS):
        monkeypatch.delitem(ROUTERS, name)
    monkeypatch.setitem(ROUTERS, "ridge", RouterEntry("Ridge", LeastSquares, "closed form"))
    table = topical_table(120)
    rows = [
        samples.Sample(
            id=question.id,
            data_source=question.data_source,
            question=question.text,
            candidate=candidate,
            score=float(table.score[row, column]),
            metric="exact",
            raw_cost=float(table.raw_cost[row, column]),
            spend_usd=float(table.spend_usd[row, column]),
        )
        for row, question in enumerate(table.questions)
        for column, candidate in enumerate(table.candidates)
    ]
    files.write_scores(rows, tmp_path / "scores.parquet", provenance={})
    return tmp_path / "scores.parquet"


def test_the_table_is_printed_and_the_report_written(scores, tmp_path, capfd):
    typed = ["--scores", str(scores), "--seeds", "2", "--alphas", "0,1", "--out", str(tmp_path / "out")]
    assert bench(typed) == ExitCode.DONE
    results = capfd.readouterr().out
    assert "At cost weight 0: mean over seeds" in results
    assert "Best constant at equal cost *" in results
    (above,) = (line for line in results.splitlines() if line.startswith("above the best constant at equal cost:"))
    assert "Ridge (+0." in above
    assert f"report: {tmp_path / 'out' / 'report.html'}" in results
    assert json.loads((tmp_path / "out" / "results.json").read_text())["options"]["seeds"] == 2
    assert bench(typed) == ExitCode.REFUSED
    assert "already holds a benchmark" in capfd.readouterr().err
    assert bench([*typed, "--resume"]) == ExitCode.DONE


def test_after_ctrl_c_it_says_how_to_go_on(scores, tmp_path, capfd, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LeastSquares, "fit_quality", interrupted)
    assert bench(["--scores", str(scores), "--out", str(tmp_path / "out")]) == ExitCode.INTERRUPTED
    assert f"interrupted; go on with --resume --out {tmp_path / 'out'}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--seeds", "2"], "error: command line: --seeds = 2: goes with --scores alone"),
        (["--scores", "missing.parquet", "--paper", "qwen"], "error: command line: --paper = 'qwen': needs answers"),
        (["--scores", "missing.parquet", "--seeds", "0"], "--seeds"),
        (["--scores", "missing.parquet", "--test-share", "1"], "--test-share"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(typed, message, capfd):
    assert bench(typed) == ExitCode.REFUSED
    told = capfd.readouterr().err.strip()
    assert message in told
    assert "\n" not in told


def test_a_file_that_is_not_there_is_told(scores, capfd):
    assert bench(["--scores", f"{scores}.gone"]) == ExitCode.REFUSED
    assert "scores.parquet.gone" in capfd.readouterr().err
