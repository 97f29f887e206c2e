"""Which folders are found, and by which names."""

from __future__ import annotations

import pytest

from router_r1.pages.folders import Folders
from router_r1.serving.api_errors import ApiError


def make(folder, name):
    folder.mkdir(parents=True)
    (folder / name).write_text("{}")
    return folder


def test_runs_and_benchmarks_are_found_below_the_folders_given(tmp_path):
    make(tmp_path / "runs" / "a", "run.json")
    make(tmp_path / "results" / "deep" / "b", "trajectories.jsonl")
    found = Folders([tmp_path / "runs", tmp_path / "results", tmp_path / "nowhere"]).all()
    assert [(folder.name, folder.kind) for folder in found] == [("a", "run"), ("deep/b", "benchmark")]


def test_a_folder_that_is_one_itself_has_its_own_name(tmp_path):
    make(tmp_path / "mine", "run.json")
    assert Folders([tmp_path / "mine"]).find("mine", "run").path == tmp_path / "mine"


def test_what_has_the_same_name_is_told_apart(tmp_path):
    for root in ("one", "two"):
        make(tmp_path / root / "a", "run.json")
    found = Folders([tmp_path / "one", tmp_path / "two", tmp_path / "one"]).all("run")
    assert [folder.name for folder in found] == ["a", "two/a"]


def test_a_name_that_is_not_in_the_listing_or_of_another_kind_is_refused(tmp_path):
    make(tmp_path / "a", "run.json")
    for name, kind in (("../a", "run"), ("a", "benchmark"), (str(tmp_path / "a"), "run")):
        with pytest.raises(ApiError):
            Folders([tmp_path]).find(name, kind)
