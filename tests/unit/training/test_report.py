"""What a run shows of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from router_r1 import runs
from router_r1.training import report


def validation(source: str, em: float, fmt: float = 0.0) -> dict[str, float]:
    measures = {"reward": em, "em": em, "f1": em, "raw_cost": 10.0, "routes": 1.0, "format": fmt}
    return {f"val-aux/{source}/{name}/mean@1": value for name, value in measures.items()}


def training(em: float) -> dict[str, float]:
    names = ("reward", "em", "raw_cost", "routes")
    others = {"train/format": -0.25, "actor/entropy": 0.7, "timing_s/step": 2.0, "train/candidate/A": 1.0}
    return {f"train/{n}": em for n in names} | others | routing("train", 0.75)


def routing(section: str, share: float) -> dict[str, float]:
    return {
        f"{section}/top_share": share,
        f"{section}/effective_candidates": 2.0,
        f"{section}/kind_information": 0.5,
    }


def against_constants(section: str, above: float) -> dict[str, float]:
    measures = {"best_constant_em": 0.7, "em_above_constant": above, "oracle_em": 0.9, "regret": 0.2 - above}
    measures |= {"kind_oracle_em": 0.8, "em": 0.7 + above, "raw_cost": 10.0}
    return {f"{section}/{name}": value for name, value in measures.items()}


def write_answers(run_dir: Path, **right: str) -> None:
    """What candidates said to the validation questions: candidate -> 1 or 0 for each question."""
    file = runs.constants_file(run_dir)
    file.parent.mkdir(exist_ok=True)
    rows = [
        {
            "data_source": "nq", "index": index, "kind": "nq", "offered": len(right), "candidate": name,
            "em": float(em), "f1": 0.5, "raw_cost": 27.0, "spend_usd": 0.0, "failed": False,
        }
        for name, ems in right.items()
        for index, em in enumerate(ems)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def shared(routes: float = 1.0, **candidates: float) -> dict[str, float]:
    """A step's metrics: each candidate's share of the routes."""
    return training(0.5) | {"train/routes": routes} | {f"train/candidate/{name}": x for name, x in candidates.items()}


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
    assert "top share 0.75" in line
    assert lines.new() == []


def test_a_line_tells_how_many_versions_behind_the_trajectories_of_a_step_are_if_any_is(tmp_path):
    behind = "training/off_policy/trajectory_staleness_worst"
    fresh, old = ({f"{behind}/mean": mean, f"{behind}/max": most} for mean, most in ((0.0, 0), (0.75, 2)))
    records = [json.dumps({"step": n, "data": training(0.25) | m}) + "\n" for n, m in enumerate((fresh, old))]
    (tmp_path / "0.jsonl").write_text("".join(records))

    first, second = report.StepLines(tmp_path / "0.jsonl", total_steps=40).new()

    assert "behind" not in first
    assert "behind 0.75/2" in second


def test_a_line_of_a_validation_tells_the_share_of_the_most_used_candidate(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "validation").mkdir()
    (tmp_path / "metrics" / "0.jsonl").write_text(json.dumps({"step": 0, "data": validation("nq", 0.5)}) + "\n")
    (tmp_path / "validation" / "0.json").write_text(json.dumps(routing("val", 0.99)))

    (line,) = report.StepLines(tmp_path / "metrics" / "0.jsonl", total_steps=40).new()

    assert line == "validation at step 0: nq EM 0.500 raw cost 10.0 · top share 0.99"


def test_a_line_of_a_validation_tells_what_the_best_constant_has_for_the_same_money(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "validation").mkdir()
    (tmp_path / "metrics" / "0.jsonl").write_text(json.dumps({"step": 0, "data": validation("nq", 0.5)}) + "\n")
    measures = routing("val", 0.99) | against_constants("val", -0.125)
    (tmp_path / "validation" / "0.json").write_text(json.dumps(measures))

    (line,) = report.StepLines(tmp_path / "metrics" / "0.jsonl", total_steps=40).new()

    assert line.endswith("top share 0.99 · best constant at that cost EM 0.700, so -0.125 · oracle 0.900")


def test_a_line_of_a_validation_says_so_if_the_candidates_were_asked_in_vain(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "validation").mkdir()
    (tmp_path / "metrics" / "0.jsonl").write_text(json.dumps({"step": 0, "data": validation("nq", 0.5)}) + "\n")
    (tmp_path / "validation" / "0.json").write_text(json.dumps(routing("val", 0.99)))
    runs.constants_file(tmp_path).write_text("")

    (line,) = report.StepLines(tmp_path / "metrics" / "0.jsonl", total_steps=40).new()

    assert line.endswith("top share 0.99 · best constant not known (train.log says why)")


# ---------------------------------------------------------------- one candidate for everything

HELP = "docs/training.md#when-every-route-goes-to-one-candidate"


def warnings_after(*steps: dict[str, float]) -> list[str]:
    watch = report.CollapseWatch(Path("nowhere"))
    return [watch.after(step) for step in steps]


def test_a_run_whose_routes_all_go_to_one_candidate_says_so_once_after_five_steps(tmp_path):
    file = tmp_path / "0.jsonl"
    lines = report.StepLines(file, total_steps=40)
    steps = [json.dumps({"step": s, "data": shared(A=0.008, B=0.992)}) + "\n" for s in range(1, 13)]

    file.write_text("".join(steps[:4]))
    assert len(lines.new()) == 4
    file.write_text("".join(steps))
    shown = lines.new()

    assert shown[1] == f"99 % of the routes of the last 5 steps go to B: see {HELP}"
    assert len(shown) == 8 + 1, "it is told once"


def test_a_warning_says_what_that_candidate_alone_would_score_where_it_is_known(tmp_path):
    write_answers(tmp_path, A="0000", B="1110")
    watch = report.CollapseWatch(tmp_path)
    steps = [shared(A=0.0, B=1.0) | {"train/em": em, "train/raw_cost": 35.0} for em in (0.5, 0.7, 0.75, 0.75, 0.75)]

    *_, warning = [watch.after(step) for step in [shared(A=1.0, B=0.0), *steps]]

    assert warning == (
        "100 % of the routes of the last 5 steps go to B. B alone would score EM 0.75 on the validation questions at a "
        "raw cost of 27; the router had 0.69 at 35 in these steps. router_r1.exploration.dealt=1.0 "
        f"router_r1.exploration.tau=0.1 keeps it trying: see {HELP}"
    )


def test_the_place_that_a_warning_names_is_there(project_root):
    file, _, anchor = HELP.partition("#")
    headings = [line for line in (project_root / file).read_text().splitlines() if line.startswith("## ")]

    assert anchor in [heading.removeprefix("## ").lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize(
    "steps",
    [
        [shared(A=1.0, B=0.0)] * 4,
        [shared(A=0.95, B=0.05)] * 9,
        [shared(A=1.0, B=0.0), shared(A=0.0, B=1.0)] * 9,
        [shared(A=1.0)] * 9,
        [shared(routes=0.0, A=0.0, B=0.0)] * 9,
    ],
    ids=["fewer steps than a window", "at the limit", "another each step", "a pool of one", "no routes"],
)
def test_no_warning_is_given_for(steps):
    assert not any(warnings_after(*steps))


def test_a_run_that_comes_to_it_later_is_warned_when_a_whole_window_has():
    told = warnings_after(*[shared(A=0.5, B=0.5)] * 6, *[shared(A=0.97, B=0.03)] * 6)

    assert [bool(warning) for warning in told] == [False] * 10 + [True, False]


def test_steps_weigh_by_their_routes():
    few, many = shared(routes=0.01, A=0.0, B=1.0), shared(routes=2.0, A=1.0, B=0.0)

    assert "go to A" in warnings_after(few, *[many] * 4)[-1]


# ---------------------------------------------------------------- the end


def test_measures_of_routing_in_the_mean_of_a_validation_are_of_all_questions_and_no_means():
    metrics = validation("a", 0.2) | validation("b", 0.6)
    metrics |= routing("val", 0.5) | routing("val/a", 1.0) | routing("val/b", 1.0)

    rows = report.validation_table(metrics)

    assert list(rows) == ["a", "b", "mean"]
    assert [row["top_share"] for row in rows.values()] == [1.0, 1.0, 0.5]
    assert rows["mean"]["em"] == pytest.approx(0.4)
    assert report.validation_table({"actor/lr": 1.0}) == {}


def test_closing_writes_table_summary_and_picture(tmp_path):
    (tmp_path / "metrics").mkdir()
    rows = [(0, validation("world_1hop", 0.3)), (1, training(0.4)), (2, training(0.6) | validation("world_1hop", 0.9))]
    (tmp_path / "metrics" / "0.jsonl").write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows))
    console = Console(record=True, width=140)

    report.close(tmp_path, console)

    text = console.export_text()
    assert "0.300 → 0.900" in text
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["validation"]["2"]["mean"]["em"] == 0.9
    assert "routing before" not in text, "an earlier version measured none"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_closing_shows_the_curve_over_cost_weights_where_alpha_was_sampled(tmp_path):
    for folder in ("metrics", "validation"):
        (tmp_path / folder).mkdir()
    rows = [(1, training(0.4)), (2, training(0.6) | validation("nq", 0.9))]
    (tmp_path / "metrics" / "0.jsonl").write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows))
    measured = routing("val", 0.5) | routing("val/nq", 0.5)
    for weight, em in (("0.95", 0.25), ("0", 0.875)):
        name = f"val/cost_weight_{weight}"
        measured |= routing(name, 1.0) | {f"{name}/em": em, f"{name}/raw_cost": 32 * em, f"{name}/routes": 1.5}
    (tmp_path / "validation" / "2.json").write_text(json.dumps(measured))
    console = Console(record=True, width=140)

    report.close(tmp_path, console)

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["validation"]["2"]) == ["nq", "mean"], "a cost weight is no data source"
    assert list(summary["cost_curve"]) == ["0", "0.95"]
    at_most = summary["cost_curve"]["0.95"]
    assert (at_most["em"], at_most["raw_cost"], at_most["top_share"]) == (0.25, 8.0, 1.0)
    table = console.export_text().partition("by cost weight")[2].replace("│", " ")
    assert ["0.95", "0.250", "8.000", "1.500", "1.000", "2.000", "0.500"] in [
        line.split() for line in table.splitlines()
    ]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_closing_shows_routing_before_and_after_where_it_was_measured(tmp_path):
    """The first validation is of an earlier version, as in a run that was resumed after an update."""
    for folder in ("metrics", "validation"):
        (tmp_path / folder).mkdir()
    rows = [(0, validation("nq", 0.3)), (1, training(0.4)), (2, training(0.6) | validation("nq", 0.9))]
    (tmp_path / "metrics" / "0.jsonl").write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows))
    measured = routing("val", 0.625) | routing("val/nq", 0.625)
    (tmp_path / "validation" / "2.json").write_text(json.dumps(measured))
    console = Console(record=True, width=140)

    report.close(tmp_path, console)
    after_update = console.export_text()
    (tmp_path / "validation" / "0.json").write_text(json.dumps(measured | routing("val", 0.25)))
    report.close(tmp_path, console)

    assert "routing before (step 0) and after (step 2)" in after_update
    assert "0.625" in after_update
    (over_all,) = [line for line in console.export_text().splitlines() if "0.250 → 0.625" in line]
    assert over_all.split()[1] == "all"
    assert json.loads((tmp_path / "summary.json").read_text())["validation"]["2"]["mean"]["kind_information"] == 0.5


def test_closing_tells_what_can_be_had_without_looking_at_the_question_where_the_candidates_were_asked(tmp_path):
    write_answers(tmp_path, A="0000", B="1110")
    (tmp_path / "metrics").mkdir()
    rows = [(0, validation("nq", 0.3)), (2, training(0.6) | validation("nq", 0.9))]
    (tmp_path / "metrics" / "0.jsonl").write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows))
    for step, above in ((0, -0.125), (2, 0.0625)):
        measured = {key: x for part in ("val", "val/nq") for key, x in against_constants(part, above).items()}
        measured |= routing("val", 0.5) | routing("val/nq", 0.5)
        (tmp_path / "validation" / f"{step}.json").write_text(json.dumps(measured))
    console = Console(record=True, width=160)

    report.close(tmp_path, console)

    text = console.export_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "-0.125 → 0.062" in text
    assert "best constant at that cost" in text
    assert summary["validation"]["2"]["mean"]["em_above_constant"] == 0.0625
    assert summary["constants"]["candidates"]["B"] == {"em": 0.75, "raw_cost": 27.0}
    assert [point["first"] for point in summary["constants"]["hull"]] == ["nobody", "B"]


def test_a_data_source_of_which_no_question_was_asked_of_the_candidates_has_no_figure_of_them(tmp_path):
    """As with router_r1.constants.max_questions=1."""
    for folder in ("metrics", "validation"):
        (tmp_path / folder).mkdir()
    record = {"step": 0, "data": validation("nq", 0.3) | validation("a", 0.5)}
    (tmp_path / "metrics" / "0.jsonl").write_text(json.dumps(record) + "\n")
    measured = {key: x for part in ("val", "val/nq") for key, x in against_constants(part, 0.25).items()}
    measured |= {key: x for part in ("val", "val/nq", "val/a") for key, x in routing(part, 0.5).items()}
    (tmp_path / "validation" / "0.json").write_text(json.dumps(measured))
    console = Console(record=True, width=160)

    report.close(tmp_path, console)

    rows = json.loads((tmp_path / "summary.json").read_text())["validation"]["0"]
    assert [row.get("em_above_constant") for row in rows.values()] == [None, 0.25, 0.25]
    assert (tmp_path / "curves.png").exists()
