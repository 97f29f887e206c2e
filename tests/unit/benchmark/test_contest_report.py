"""The paper's tables with ours beside them."""

from __future__ import annotations

import pytest

from router_r1.benchmark.contest_report import paper_sheets
from router_r1.benchmark.contest_results import Contested
from router_r1.benchmark.metrics import Results
from router_r1.datasets.selection import BENCHMARKS


def contested(name: str, title: str, em: float, datasets=BENCHMARKS, alpha: float | None = None) -> Contested:
    row = {"em": em, "f1": em + 0.1, "raw_cost": 100 * em}
    return Contested(name, title, alpha, Results(dict.fromkeys(datasets, row), row))


def sheet_of(*ours: Contested, metric: int = 0, base: str = "qwen"):
    return paper_sheets(ours, base)[metric]


def test_a_row_of_the_paper_has_ours_on_its_right():
    sheet = sheet_of(contested("knn", "kNN", 0.5))
    assert sheet.groups == [("the paper", 8), ("here", 8)]
    rows = dict(sheet.rows)
    assert rows["KNN Router"][:2] == ["0.262", "0.528"]
    assert rows["KNN Router"][7:] == ["0.265", *["0.500"] * 8]
    assert rows["SFT"][8:] == ["-"] * 8, "was not run here"


def test_what_the_paper_does_not_have_comes_last():
    sheet = sheet_of(contested("svm", "SVM", 0.25))
    assert sheet.rows[-1] == ("SVM", ["-"] * 8 + ["0.250"] * 8)


def test_what_was_trained_for_itself_stands_beside_the_papers_row_of_its_kind():
    rows = dict(sheet_of(contested("sft:runs/sft", "SFT (sft)", 0.5), contested("search-r1:x", "Search-R1", 0.25)).rows)
    assert rows["SFT"][8:] == ["0.500"] * 8
    assert rows["Search-R1"][8:] == ["0.250"] * 8


def test_of_a_curve_the_first_cost_weight_is_shown():
    sheet = sheet_of(contested("knn", "kNN", 0.5, alpha=0.0), contested("knn", "kNN", 0.1, alpha=0.8))
    assert dict(sheet.rows)["KNN Router"][8] == "0.500"


def test_a_mean_of_other_data_sets_is_not_shown_beside_the_papers():
    sheet = sheet_of(contested("knn", "kNN", 0.5, datasets=("nq", "popqa", "own")))
    assert dict(sheet.rows)["KNN Router"][8:] == ["0.500", "-", "0.500", "-", "-", "-", "-", "-"]


def test_costs_are_shown_for_the_data_sets_and_the_base_model_that_the_paper_gives_them_for():
    sheet = sheet_of(contested("knn", "kNN", 0.5), metric=2)
    assert sheet.columns == ["nq", "popqa", "hotpot", "2wiki"] * 2
    assert dict(sheet.rows)["KNN Router"] == ["41", "30.3", "45.4", "51.8", "50", "50", "50", "50"]
    with pytest.raises(IndexError):
        sheet_of(contested("knn", "kNN", 0.5), metric=2, base="llama")
