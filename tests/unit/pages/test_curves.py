"""What of a growing run is told, and in which pieces."""

from __future__ import annotations

import json

from router_r1.pages.curves import new_steps


def line(step, **metrics):
    named = {f"train/{name}": value for name, value in metrics.items()}
    return json.dumps({"step": step, "data": named}) + "\n"


def steps(found):
    return [row["step"] for row in found.rows]


def test_each_reply_holds_what_came_since_the_one_before(tmp_path):
    file = tmp_path / "metrics" / "0.jsonl"
    file.parent.mkdir()
    file.write_text(line(0) + line(1, reward=0.5))
    first = new_steps(tmp_path, "")
    assert (steps(first), first.kept_to, first.more) == ([0, 1], -1, False)
    assert first.rows[1]["reward"] == 0.5
    assert steps(new_steps(tmp_path, first.cursor)) == []
    with file.open("a") as growing:
        growing.write(line(2) + line(3)[:-5])
    second = new_steps(tmp_path, first.cursor)
    assert steps(second) == [2], "the last line is still on its way"


def test_a_trainer_that_was_started_again_takes_the_place_of_what_it_did_before(tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "0.jsonl").write_text(line(1) + line(2) + line(3))
    known = new_steps(tmp_path, "")
    (folder / "2.jsonl").write_text(line(3, reward=0.9))
    turned = new_steps(tmp_path, known.cursor)
    assert (steps(turned), turned.kept_to, turned.more) == ([], 2, True)
    after = new_steps(tmp_path, turned.cursor)
    assert (steps(after), after.kept_to, after.more) == ([3], None, False)


def test_a_cursor_that_does_not_fit_begins_anew(tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "0.jsonl").write_text(line(1))
    for cursor in ("0:9999", "7:0", "../../etc:0", "x"):
        found = new_steps(tmp_path, cursor)
        assert (steps(found), found.kept_to) == ([1], -1)


def test_a_run_without_metrics_has_no_curves_yet(tmp_path):
    assert new_steps(tmp_path, "").rows == []


def test_shares_and_phases_are_sections_and_lines_that_are_none_are_passed_over(tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    data = {"train/candidate/a": 0.25, "train/candidate/b": 0.75, "timing_s/gen": 2.0, "timing_s/step": 3.0}
    (folder / "0.jsonl").write_text("no JSON\n[1]\n" + json.dumps({"step": 1, "data": data}) + "\n")
    (row,) = new_steps(tmp_path, "").rows
    assert row["shares"] == {"a": 0.25, "b": 0.75}
    assert row["seconds"] == {"gen": 2.0}, "the whole step is no phase"
