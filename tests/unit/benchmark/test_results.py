"""Numbers of a benchmark: means, bootstrap intervals, tables, pictures, comparison with other runs and the paper."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from router_r1.benchmark.comparison import hulls_of
from router_r1.benchmark.metrics import bootstrap_interval, read_results, summarise, write_results
from router_r1.benchmark.paper import paper_table
from router_r1.benchmark.plots import draw_constants, draw_em_against_cost, draw_shares, write_figures
from router_r1.benchmark.tables import em_sheet, ordered, summary_sheet
from router_r1.constant_routers import Asked, CandidateTable
from router_r1.datasets.selection import BENCHMARKS
from router_r1.errors import ConfigError
from tests.doubles.commands import compare


def record(source="nq", index=0, sample=0, **changes):
    route = {"candidate": "Atlas-7B", "prompt_tokens": 10, "completion_tokens": 4, "failed": False}
    turns = [
        {"text": "<search>", "action": "search", "invalid_reason": "", "route": route, "observation": "x"},
        {"text": "<answer>", "action": "answer", "invalid_reason": "", "route": None, "observation": ""},
    ]
    return {
        "data_source": source, "id": str(index), "index": index, "sample": sample, "question": "q",
        "golden_answers": ["a"],
        "em": 1.0, "f1": 1.0, "format_error": "", "latency_s": 0.5, "answer": "a", "status": "answered", "routes": 1,
        "failed_routes": 0, "raw_cost": 2.0, "spend_usd": 1e-6, "policy_tokens": 9, "turns": turns, **changes,
    }  # fmt: skip


def test_every_data_set_weighs_the_same_in_the_mean():
    records = [record("nq", i, em=0.0) for i in range(9)] + [record("popqa", 0)]
    results = summarise(records, ["Atlas-7B", "Borealis-70B"])
    assert results.mean["em"] == 0.5
    assert (results.mean["n"], results.datasets["nq"]["n"]) == (10, 9)
    assert (results.mean["share/Atlas-7B"], results.mean["share/Borealis-70B"]) == (1.0, 0.0)


@settings(max_examples=5)  # each draws thousands of resamples
@given(st.permutations(list(range(12))))
def test_the_order_in_which_trajectories_finish_changes_nothing(order):
    def made(i):
        return record(["nq", "popqa"][i % 2], i, em=float(i % 3 == 0), raw_cost=0.1 * i, spend_usd=1e-7 * i)

    assert summarise([made(i) for i in order], ["Atlas-7B"]) == summarise([made(i) for i in range(12)], ["Atlas-7B"])


def test_a_wrong_and_badly_formatted_answer_scores_0_under_em_and_f1_alike():
    """Its reward is -1, its metrics are not."""
    results = summarise([record(em=0.0, f1=0.0, format_error="a tag is not closed"), record(index=1)], ["Atlas-7B"])
    row = results.datasets["nq"]
    assert (row["em"], row["f1"], row["format_ok"]) == (0.5, 0.5, 0.5)


# ---------------------------------------------------------------- measures of routing


def asking(candidate, source="nq", index=0, **changes):
    made = record(source, index, **changes)
    made["turns"][0]["route"]["candidate"] = candidate
    return made


def test_a_router_that_asks_one_candidate_of_many_for_everything_shows_in_every_row():
    records = [asking("Atlas-7B", source, i) for source in ("nq", "popqa") for i in range(3)]
    results = summarise(records, ["Atlas-7B", "Borealis-70B"])
    for row in (*results.datasets.values(), results.mean):
        assert (row["top_share"], row["effective_candidates"], row["kind_information"]) == (1.0, 1.0, 0.0)


def test_a_candidate_for_each_data_set_shows_over_all_and_in_no_data_set_alone():
    records = [asking("Atlas-7B", "nq", i) for i in range(4)] + [asking("Borealis-70B", "popqa", i) for i in range(4)]
    results = summarise(records, ["Atlas-7B", "Borealis-70B"])
    assert [row["kind_information"] for row in results.datasets.values()] == [0.0, 0.0]
    assert (results.mean["top_share"], results.mean["effective_candidates"]) == (0.5, 2.0)
    assert results.mean["kind_information"] == 1.0


def test_kinds_within_a_data_set_count_where_the_questions_have_some():
    kinds = {"film": "Atlas-7B", "music": "Borealis-70B"}
    records = [asking(name, "nq", i, kind=kind) for i, (kind, name) in enumerate(kinds.items())]
    assert summarise(records, list(kinds.values())).datasets["nq"]["kind_information"] == 1.0


def test_only_the_candidate_asked_first_depends_on_the_kind_and_all_routes_count_as_routes():
    both = [asking(name, source) for name, source in (("Atlas-7B", "nq"), ("Borealis-70B", "popqa"))]
    for made in both:
        second = {**made["turns"][0], "route": {**made["turns"][0]["route"], "candidate": "Coda-1B"}}
        made["turns"].insert(1, second)
    mean = summarise(both, ["Atlas-7B", "Borealis-70B", "Coda-1B"]).mean
    assert (mean["kind_information"], mean["top_share"]) == (1.0, 0.5)


def test_without_any_route_all_three_are_0():
    made = record()
    made["turns"][0]["route"] = None
    row = summarise([made], ["Atlas-7B"]).mean
    assert (row["top_share"], row["effective_candidates"], row["kind_information"]) == (0.0, 0.0, 0.0)


# ---------------------------------------------------------------- intervals


def test_the_interval_agrees_with_the_normal_approximation_of_a_share():
    scores = np.array([1.0] * 300 + [0.0] * 700)
    low, high = bootstrap_interval([scores])
    error = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - error, abs=0.004)
    assert high == pytest.approx(0.3 + error, abs=0.004)


def test_the_interval_of_a_mean_over_data_sets_is_that_of_its_independent_parts():
    one = np.array([1.0, 0.0] * 200)
    low, high = bootstrap_interval([one] * 4)
    error = 1.96 * np.sqrt(0.25 / 400 / 4)
    assert (low, high) == (pytest.approx(0.5 - error, abs=0.004), pytest.approx(0.5 + error, abs=0.004))


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_interval_lies_within_the_scores(scores):
    low, high = bootstrap_interval([np.array(scores)])
    assert min(scores) - 1e-9 <= low <= high <= max(scores) + 1e-9


def test_samples_of_one_question_make_the_interval_no_narrower():
    """Ten identical samples of each question are no more evidence than one."""
    once = [record("nq", i, em=float(i % 2)) for i in range(40)]
    often = [record("nq", i, sample, em=float(i % 2)) for i in range(40) for sample in range(10)]
    a, b = (summarise(records, ["Atlas-7B"]).datasets["nq"] for records in (once, often))
    assert (a["em_low"], a["em_high"]) == (b["em_low"], b["em_high"])


# ---------------------------------------------------------------- tables and pictures


def test_data_sets_stand_in_the_papers_order_and_groups():
    assert ordered([*reversed(BENCHMARKS), "zeta", "alpha"]) == [*BENCHMARKS, "alpha", "zeta"]
    sheet = summary_sheet(summarise([record(name) for name in BENCHMARKS], ["Atlas-7B"]))
    assert sheet.groups == [("general", 3), ("multi-hop", 4), ("", 1)]
    assert sheet.columns == ["nq", "triviaqa", "popqa", "hotpot", "2wiki", "musique", "bamb", "mean"]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_are_drawn_whatever_the_names_are(tmp_path):
    results = summarise([record("$\\frac{1}$\x00"), record("日本語 <b>")], ["Atlas-7B", "$x^$"])
    paths = write_figures(tmp_path, results)
    assert [path.name for path in paths] == ["em.png", "em_cost.png", "routes.png", "shares.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.filterwarnings("error:constrained_layout")
def test_the_shares_of_many_candidates_are_those_of_the_most_used_and_of_the_rest(tmp_path):
    pool = [f"candidate-{number}" for number in range(36)]
    results = summarise([asking(name, index=i) for i, name in enumerate([*pool, *pool[20:]])], pool)
    write_figures(tmp_path, results)
    figure = Figure()
    draw_shares(axes := figure.add_subplot(), results)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 10
    assert set(labels[:9]) <= set(pool[20:])
    assert labels[9] == "27 others"
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(1)


def points_of(offered: dict[int, dict[str, tuple[float, float]]]) -> set[str]:
    """What is written into the picture of constants, for questions that offer these candidates with (EM, raw cost)."""
    asked = [
        Asked(("nq", number), "nq", name, em, cost)
        for number, candidates in offered.items()
        for name, (em, cost) in candidates.items()
    ]
    axes = Figure().add_subplot()
    draw_constants(axes, summarise([record(index=number) for number in offered], ["A", "B"]), CandidateTable.of(asked))
    return {text.get_text() for text in axes.texts} - {"oracle", "oracle by kind", "router"}


def test_a_candidate_is_drawn_where_it_could_answer_every_question_and_else_the_orders_of_preference():
    both = {"A": (1.0, 4.0), "B": (0.0, 1.0)}
    assert points_of({0: both, 1: both}) == {"A", "B"}
    # Alone, A would be right about all that offer it, and nobody could have that for all questions.
    assert points_of({0: both, 1: {"B": (0.0, 1.0)}}) == {"A first"}


# ---------------------------------------------------------------- comparison


@pytest.fixture
def runs(tmp_path):
    """Two runs on two data sets each."""
    for name, em in (("cheap", 0.0), ("expensive", 1.0)):
        records = [record(source, i, em=em) for source in ("nq", "bamboogle") for i in range(3)]
        write_results(tmp_path / name, summarise(records, ["Atlas-7B"]), {})
    return [str(tmp_path / name) for name in ("cheap", "expensive")]


def test_runs_are_put_side_by_side_in_one_table_one_file_and_one_picture(runs, tmp_path, capsys):
    assert compare([*runs, "--out", str(tmp_path / "both")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cheap", "0.000", "0.000", "0.000"] in lines
    assert ["expensive", "1.000", "1.000", "1.000"] in lines
    rows = {row["run"]: row for row in csv.DictReader((tmp_path / "both" / "comparison.csv").open())}
    assert (rows["expensive"]["nq"], rows["expensive"]["mean"], rows["expensive"]["raw_cost"]) == ("1.0", "1.0", "2.0")
    assert (tmp_path / "both" / "em_cost.png").read_bytes().startswith(b"\x89PNG")


def test_benchmarks_on_the_same_questions_share_the_line_of_the_best_constant(runs, tmp_path):
    """One that was run where the candidates were not asked has none, and what was written is read back."""
    records = [record("nq", i) for i in range(2)]
    asked = {
        "one": [("A", 0.5, 2.0), ("B", 0.75, 10.0)],
        "other": [("A", 0.5, 2.0), ("B", 0.75, 10.0), ("Dearer", 0.7, 20.0)],
        "third": [("A", 0.25, 2.0)],
    }
    for name, scores in asked.items():
        table = CandidateTable.of(Asked(("nq", i), "nq", *score) for i in range(2) for score in scores)
        write_results(tmp_path / name, summarise(records, ["Atlas-7B"], table), {})
    found = {name: read_results(tmp_path / name) for name in ("cheap", *asked)}
    corners = [[(corner.raw_cost, corner.em) for corner in hull] for hull in hulls_of(found)]
    assert corners == [[(0, 0), (2, 0.5), (10, 0.75)], [(0, 0), (2, 0.25)]]
    assert list(hulls_of(found).values()) == [["one", "other"], ["third"]]
    axes = Figure().add_subplot()
    draw_em_against_cost(axes, {"one": (12.0, 0.9)}, hulls_of(found))
    drawn = [line.get_xydata().tolist() for line in axes.lines if line.get_linestyle() == "--"]
    assert drawn == [[[0, 0], [2, 0.5], [10, 0.75], [12, 0.75]], [[0, 0], [2, 0.25], [12, 0.25]]]


def test_the_papers_figures_can_stand_beside_them_with_their_source(runs, tmp_path, capsys):
    assert compare([*runs, "--paper", "qwen", "--out", str(tmp_path / "both")]) == 0
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith(" paper: Router-R1")]
    assert row[2:] == ["0.388", "0.706", "0.384", "0.352", "0.434", "0.138", "0.512", "0.416"]
    assert "arXiv:2506.09033" in out
    assert "means do not compare" in out


def test_runs_are_compared_by_their_measures_of_routing_and_an_older_run_has_none(runs, tmp_path, capsys):
    file = tmp_path / "cheap" / "results.json"
    found = json.loads(file.read_text())
    for row in (*found["datasets"].values(), found["mean"]):
        for key in ("top_share", "effective_candidates", "kind_information"):
            del row[key]
    file.write_text(json.dumps(found))
    assert compare([*runs, "--out", str(tmp_path / "both")]) == 0
    out = capsys.readouterr().out.partition("Measures of routing")[2]
    lines = [line.split() for line in out.splitlines()]
    assert ["cheap"] in lines
    assert ["expensive", "1.000", "1.00", "0.000"] in lines
    rows = {row["run"]: row for row in csv.DictReader((tmp_path / "both" / "comparison.csv").open())}
    assert [rows[run]["top_share"] for run in ("cheap", "expensive")] == ["", "1.0"]
    assert rows["expensive"]["kind_information"] == "0.0"


@pytest.mark.parametrize("metric", ["em", "f1"])
@pytest.mark.parametrize("base", ["qwen", "llama"])
def test_the_published_means_are_those_of_the_published_rows(base, metric):
    """A slip in copying a figure would show here."""
    rows = paper_table(base, metric).rows
    assert len(rows) == 15
    for method, row in rows.items():
        assert list(row) == [*BENCHMARKS, "mean"]
        assert np.mean([row[name] for name in BENCHMARKS]) == pytest.approx(row["mean"], abs=0.00101), method


def test_a_run_that_is_none_is_refused_by_name(tmp_path, capsys):
    assert compare([str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text(json.dumps({"x": 1}))
    with pytest.raises(ConfigError, match=r"results.json: holds no results of test.sh"):
        read_results(tmp_path / "other")


def test_a_contest_is_refused_with_the_folders_that_can_be_compared(tmp_path):
    (tmp_path / "methods" / "knn").mkdir(parents=True)
    (tmp_path / "results.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(ConfigError, match=r"is of several methods; name .*/methods/\.\.\."):
        read_results(tmp_path)


def test_a_data_set_that_a_run_lacks_is_left_empty():
    sheet = em_sheet({"a": {"nq": 0.5, "mean": 0.5}, "b": {"nq": 0.1, "popqa": 0.3, "mean": 0.2}})
    assert sheet.rows[0] == ("a", ["0.500", "", "0.500"])
