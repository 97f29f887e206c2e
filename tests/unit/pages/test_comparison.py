"""How benchmarks are called beside one another."""

from __future__ import annotations

from router_r1.benchmark.metrics import summarise, write_results
from router_r1.pages.comparison import comparison
from router_r1.pages.folders import Folders
from tests.unit.findings.run_folders import record


def test_a_contests_methods_have_its_titles_and_a_benchmark_the_name_of_its_folder(tmp_path):
    records = [record(0, em=1, asked="film-light", offered=[("film-light", None)])]
    results = summarise(records, ["film-light"])
    write_results(tmp_path / "field" / "methods" / "knn_@0", results, {"method": "knn*", "title": "kNN*"})
    write_results(tmp_path / "alone", results, {"method": "router-r1"})

    rows = comparison(Folders([tmp_path]).all("benchmark"))["rows"]

    assert {row["label"]: row["name"] for row in rows} == {"alone": "alone", "field/methods/knn_@0": "field/kNN*"}
