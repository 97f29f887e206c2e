"""An offline benchmark as a whole: what it finds, keeps, refuses, and goes on with."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from router_r1.errors import ConfigError
from router_r1.methods.single_round import RouterEntry
from router_r1.offline.benchmark import OfflineBenchmark
from router_r1.offline.options import ComparisonOptions
from router_r1.offline.results import OfflineResults
from router_r1.offline.tables import sheets, verdicts
from tests.doubles.score_tables import LeastSquares, topical_table

pytest.importorskip("safetensors")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

QUICK = ComparisonOptions(seeds=2, alphas="0,.1,1", baseline="ridge")


def figures(results: OfflineResults, name: str, point: int = 0) -> dict[str, float | None]:
    return next(method for method in results.methods if method.name == name).evaluated.points[point].figures


def test_a_router_that_reads_the_topic_beats_the_best_constant_and_the_oracle_beats_it(tmp_path, encoder, routers):
    benchmark = OfflineBenchmark(QUICK, topical_table(), out=tmp_path / "out")
    results = benchmark.run()
    ridge = figures(results, "ridge")
    assert ridge["above_constant_low"] > 0.1
    assert ridge["above_constant_p"] < 0.01
    assert figures(results, "constant-at-cost")["score"] < ridge["score"] < figures(results, "oracle")["score"]
    assert ridge["score"] == figures(results, "told-data-set")["score"]  # the topic is the data set
    assert figures(results, "ridge", 2)["raw_cost"] == 1.0  # where only money counts
    assert [m.name for m in results.routers] == ["ridge"]
    assert verdicts(results)[0].startswith("above the best constant at equal cost: Ridge (+0.")
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert kept["baseline"] == "ridge"
    assert kept["methods"][-1]["evaluated"]["points"][0]["figures"]["score"] == ridge["score"]
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "ridge"]
    assert [row["alpha"] for row in rows] == ["0.0", "0.1", "1.0"]
    assert (tmp_path / "out" / "field.png").stat().st_size > 1000


def test_with_shuffled_labels_a_router_falls_back_to_the_best_constant(tmp_path, encoder, routers):
    """Whoever stays better has seen the test questions' scores."""
    table = topical_table(600)
    shuffled = OfflineBenchmark(QUICK.model_copy(update={"shuffle_labels": True}), table, out=tmp_path / "shuffled")
    results = shuffled.run()
    assert figures(results, "ridge")["above_constant"] < 0.03
    assert figures(results, "told-data-set")["above_constant"] < 0.03
    assert "a control" in shuffled.notes[0]
    plain = OfflineBenchmark(QUICK, table, out=tmp_path / "plain").run()
    assert figures(plain, "ridge")["above_constant"] > 0.1


def test_what_is_fitted_stays_fitted_and_texts_are_encoded_once(tmp_path, encoder, routers, monkeypatch):
    table = topical_table(120)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LeastSquares, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            OfflineBenchmark(QUICK, table, out=tmp_path / "out").run()
    OfflineBenchmark(QUICK, table, out=tmp_path / "out", resume=True).run()
    assert LeastSquares.fits == 3  # the first one was lost
    first = json.loads((tmp_path / "out" / "results.json").read_text())
    finer = QUICK.model_copy(update={"alphas": "0,.05,.1,1"})
    OfflineBenchmark(finer, table, out=tmp_path / "out", resume=True).run()
    assert LeastSquares.fits == 3  # other cost weights are asked of what was saved
    second = json.loads((tmp_path / "out" / "results.json").read_text())
    ridge = first["methods"][-1]["evaluated"]["points"], second["methods"][-1]["evaluated"]["points"]
    assert ridge[0][0] == ridge[1][0]
    assert ridge[0][2] == ridge[1][3]
    OfflineBenchmark(QUICK, table, out=tmp_path / "elsewhere").run()
    assert encoder.asked == 120


def test_a_router_whose_package_is_missing_is_listed_and_the_others_run(tmp_path, encoder, routers, monkeypatch):
    monkeypatch.setitem(routers, "graph", RouterEntry("GraphRouter", LeastSquares, "", needs=("torch_geometric_none",)))
    results = OfflineBenchmark(QUICK, topical_table(120), out=tmp_path / "out").run()
    assert results.not_installed == {"GraphRouter": "needs torch_geometric_none: pip install 'router-r1[methods]'"}
    assert [m.name for m in results.routers] == ["ridge"]
    assert "torch_geometric_none" in (tmp_path / "out" / "report.html").read_text()


def test_without_routers_the_bounds_are_told(tmp_path, encoder, routers):
    routers.clear()
    options = QUICK.model_copy(update={"baseline": None})
    results = OfflineBenchmark(options, topical_table(60), out=tmp_path / "out").run()
    assert results.routers == []
    assert results.baseline is None
    assert verdicts(results) == []


def test_bounds_that_are_routers_and_the_baseline_are_in_every_table(tmp_path, encoder, routers, monkeypatch):
    for name in ("random", "other", "unasked"):
        monkeypatch.setitem(routers, name, RouterEntry(name.title(), LeastSquares, ""))
    options = QUICK.model_copy(update={"methods": "ridge", "baseline": "other"})
    results = OfflineBenchmark(options, topical_table(60), out=tmp_path / "out").run()
    assert sorted(method.name for method in results.routers) == ["other", "ridge"]
    assert "random" in {method.name for method in results.bounds}
    assert verdicts(results)[-1] == "not told apart from Other: Ridge (+0.000, +.000, +.000)"


def test_a_router_that_knows_why_is_asked_why(tmp_path, encoder, routers, monkeypatch):
    class Telling(LeastSquares):
        def reasons(self, question: str, candidate: str) -> list[tuple[str, float]]:
            return [(f"{question.split()[1]} suits <{candidate}>", 0.25), ("length", -0.125)]

    monkeypatch.setitem(routers, "telling", RouterEntry("Telling", Telling, ""))
    OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out").run()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Telling: why this candidate</h2>" in page
    assert "<p>river suits &lt;small&gt; +0.250, length -0.125</p>" in page
    assert "<h2>Ridge: why" not in page
    OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out", resume=True).run()
    assert (tmp_path / "out" / "report.html").read_text() == page


def test_the_page_escapes_what_files_say_and_runs_nothing(tmp_path, encoder, routers, monkeypatch):
    monkeypatch.setitem(routers, "ridge", RouterEntry("<script>alert(1)</script>", LeastSquares, ""))
    table = replace(topical_table(60), candidates=("<b>small", 'la"rge', "huge"))
    OfflineBenchmark(QUICK, table, out=tmp_path / "out").run()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "<b>small" not in page
    assert 'la"rge' not in page.split("<pre>")[0]
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_every_curve_of_the_picture_leads_to_its_row(tmp_path, encoder, routers):
    results = OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out").run()
    page = (tmp_path / "out" / "report.html").read_text()
    row = next(number for number, method in enumerate(results.methods) if method.name == "ridge")
    assert f'id="curve-{row}" href="#row-{row}"' in page
    assert f'<tr id="row-{row}"><td>Ridge</td>' in page
    assert f'id="told-{row}"' in page
    assert "<title>Ridge: score" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": "0,1.5"}, "--alphas = '1.5': is no cost weight"),
        ({"alphas": "0,half"}, "--alphas = 'half': is no cost weight"),
        ({"alphas": "0,nan"}, "--alphas = 'nan': is no cost weight"),
        ({"alphas": ".5,0.5"}, "--alphas = '0.5': stands there twice"),
        ({"methods": "ridge,nearest"}, "--methods = 'nearest': is no fitted router; there are: ridge"),
        ({"baseline": "carrot"}, "--baseline = 'carrot': is no method"),
        ({"test_share": 1e-9}, "too few to part at a test share of 1e-09"),
    ],
)
def test_an_option_that_is_wrong_is_refused_before_anything_is_written(tmp_path, encoder, routers, options, message):
    with pytest.raises(ConfigError) as fault:
        OfflineBenchmark(QUICK.model_copy(update=options), topical_table(60), out=tmp_path / "out")
    assert message in str(fault.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_benchmark_is_refused(tmp_path, encoder, routers):
    OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out").run()
    with pytest.raises(ConfigError, match="already holds a benchmark"):
        OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"scores_sha256.*differs from this command's"):
        OfflineBenchmark(QUICK, topical_table(60, seed=1), out=tmp_path / "out", resume=True)
    with pytest.raises(ConfigError, match="--resume: needs --out DIR"):
        OfflineBenchmark(QUICK, topical_table(60), resume=True)


def test_scores_are_needed(encoder, routers):
    with pytest.raises(ConfigError, match="--scores: is needed"):
        OfflineBenchmark(QUICK)


def test_methods_of_one_point_and_of_a_curve_stand_in_the_same_sheets(tmp_path, encoder, routers):
    results = OfflineBenchmark(QUICK, topical_table(60), out=tmp_path / "out").run()
    for sheet in sheets(results):
        assert all(len(cells) == len(sheet.columns) for _, cells in sheet.rows)
        assert [label for label, _ in sheet.rows] == [
            method.title + " *" * method.privileged for method in results.methods
        ]
    assert np.isfinite([method.evaluated.points[0].figures["score"] for method in results.methods]).all()
