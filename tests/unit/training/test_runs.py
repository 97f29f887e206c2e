"""The folder of a run: which checkpoint is whole, which metrics count, where the links point."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from router_r1 import runs


def checkpoint(run_dir: Path, step: int, *, window: bool = True, model: bool = True) -> Path:
    folder = run_dir / "checkpoints" / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    if model:
        (folder / "actor" / "huggingface").mkdir()
    if window:
        (folder / runs.COST_WINDOW_FILE).write_text("{}")
    return folder


def metric_file(run_dir: Path, start: int, rows: list[tuple[int, dict[str, float]]], tail: str = "") -> None:
    file = run_dir / "metrics" / f"{start}.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"step": s, "data": d}) + "\n" for s, d in rows) + tail)


def test_the_latest_checkpoint_is_the_one_with_the_highest_step_not_the_last_by_name(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)

    assert runs.latest_checkpoint(tmp_path) == newest
    assert runs.step_of(newest) == 10


def test_how_many_processes_wrote_a_checkpoint_is_told_by_its_shards(tmp_path):
    folder = checkpoint(tmp_path, 10)
    assert runs.world_size(folder) is None

    for rank in range(4):
        (folder / "actor" / f"model_world_size_4_rank_{rank}.pt").touch()
    assert runs.world_size(folder) == 4


def test_a_checkpoint_whose_writing_was_cut_off_is_passed_over(tmp_path):
    whole = checkpoint(tmp_path, 20)
    checkpoint(tmp_path, 40, window=False)

    assert runs.latest_checkpoint(tmp_path) == whole


def test_a_checkpoint_whose_model_verl_has_removed_is_passed_over(tmp_path):
    checkpoint(tmp_path, 20, model=False)

    assert runs.latest_checkpoint(tmp_path) is None
    assert runs.step_of(None) == 0


def test_after_a_resume_the_later_start_of_the_trainer_wins_from_its_first_step_on(tmp_path):
    metric_file(tmp_path, 0, [(0, {"em": 0.0}), (1, {"em": 0.1}), (2, {"em": 0.2}), (3, {"em": 0.3})])
    metric_file(tmp_path, 2, [(3, {"em": 0.9}), (4, {"em": 1.0})])

    rows = runs.read_metrics(tmp_path)

    assert {step: row["em"] for step, row in rows.items()} == {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.9, 4: 1.0}


def test_the_half_line_of_a_killed_trainer_is_left_out(tmp_path):
    metric_file(tmp_path, 0, [(1, {"em": 0.5})], tail='{"step": 2, "da')

    assert list(runs.read_metrics(tmp_path)) == [1]


def test_a_link_is_relative_and_can_be_moved_to_another_target(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    runs.point(tmp_path / "latest", tmp_path / "a")
    runs.point(tmp_path / "latest", tmp_path / "b")

    assert (tmp_path / "latest").readlink() == Path("b")


def test_provenance_names_commit_and_versions(project_root):
    head = subprocess.run(["git", "-C", str(project_root), "rev-parse", "HEAD"], capture_output=True, text=True)
    found = runs.provenance()
    assert found["commit"] in (head.stdout.strip(), f"{head.stdout.strip()}-dirty")
    assert found["packages"]["openai"]


def test_an_installed_package_has_no_commit_even_inside_somebody_elses_repository(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    installed = tmp_path / "site-packages" / "router_r1"
    installed.mkdir(parents=True)
    monkeypatch.setattr(runs, "project_root", lambda: installed)
    assert runs.provenance()["commit"] is None


def test_the_measures_of_a_validation_join_the_metrics_of_its_step_and_of_no_other(tmp_path):
    metric_file(tmp_path, 0, [(0, {"val-aux/nq/em/mean@1": 0.5}), (1, {"em": 0.1}), (2, {"val-aux/nq/em/mean@1": 0.9})])
    for step in (0, 1):  # that of step 1 was left by a start that validated there
        file = runs.validation_measures_file(tmp_path, step)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"val/top_share": 0.25}))

    rows = runs.read_metrics(tmp_path)

    assert [row.get("val/top_share") for row in rows.values()] == [0.25, None, None]


def test_older_checkpoints_go_whoever_wrote_them_and_so_does_what_is_left_of_one(tmp_path):
    """veRL forgets those of an earlier start, so that each resumed run would leave two more."""
    for step in (2, 4, 6, 8):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 5, window=False)
    half = checkpoint(tmp_path, 10, window=False)

    runs.remove_old_checkpoints(tmp_path, 2)

    assert list(runs.whole_checkpoints(tmp_path)) == [6, 8]
    assert sorted(f.name for f in (tmp_path / "checkpoints").iterdir()) == sorted(
        ["global_step_6", "global_step_8", half.name]
    )


def test_without_a_whole_checkpoint_nothing_is_removed(tmp_path):
    half = checkpoint(tmp_path, 2, window=False)
    runs.remove_old_checkpoints(tmp_path, 2)
    assert half.is_dir()


def test_as_many_are_kept_as_verls_two_limits_say_and_all_if_one_of_them_says_nothing():
    assert runs.checkpoints_to_keep(2, 3) == 3
    assert runs.checkpoints_to_keep(2, None) is None
    assert runs.checkpoints_to_keep(0, 2) is None


def test_a_file_of_a_run_is_written_as_seen_from_its_folder_and_any_other_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = str(tmp_path / "runs" / "r" / "data" / "val.parquet")
    assert runs.seen_from(Path("runs/r"), own) == runs.seen_from(tmp_path / "runs" / "r", own) == "data/val.parquet"
    for other in (str(tmp_path / "runs" / "r2" / "val.parquet"), "hdfs://far/val.parquet"):
        assert runs.seen_from(Path("runs/r"), other) == other
