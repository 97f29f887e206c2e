"""Files that come with the project are found by name, and a user's own by path."""

from __future__ import annotations

import pytest

from router_r1.errors import ConfigError
from router_r1.project_files import experiment_names, pool_file, pool_name
from router_r1.project_files import project_root as root_of_files


def test_the_root_holds_the_configuration():
    assert (root_of_files() / "verl" / "router_r1.yaml").is_file()
    assert (root_of_files() / "configs" / "pools").is_dir()


@pytest.mark.parametrize("name", ["sim", "paper", "paper_unseen", "local_small"])
def test_a_pool_of_the_project_is_found_by_its_name(name):
    file = pool_file(name)
    assert file.is_file()
    assert file.stem == name


def test_a_file_is_found_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("name: mine")
    monkeypatch.chdir(tmp_path)
    assert pool_file("mine.yaml") == pool_file(pool_file("mine.yaml"))
    assert pool_file(tmp_path / "mine.yaml") == tmp_path / "mine.yaml"


def test_a_pool_of_the_project_is_called_by_its_name_and_one_of_ones_own_by_its_path(tmp_path):
    mine = tmp_path / "sim.yaml"
    mine.write_text("name: mine")
    assert pool_name(pool_file("sim")) == "sim"
    assert pool_name(mine) == str(mine)
    assert pool_name(tmp_path / "gone.yaml") == str(tmp_path / "gone.yaml")


def test_a_file_of_ones_own_wins_over_the_projects_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "sim").write_text("name: mine")
    monkeypatch.chdir(tmp_path)
    assert pool_file("sim").resolve() == tmp_path / "sim"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("name: mine")
    assert pool_file("~/mine.yaml") == tmp_path / "mine.yaml"


@pytest.mark.parametrize("written", ["nope", "no/such/pool.yaml", "configs/pools/../pools/nope"])
def test_what_is_neither_is_refused_with_the_names_there_are(written):
    with pytest.raises(ConfigError, match="local_small, paper, paper_unseen, recorded_gsm8k, retriever, sim") as told:
        pool_file(written)
    assert told.value.value == written


def test_the_experiments_are_those_that_are_there_but_for_parts_of_others(project_root):
    files = sorted(file.stem for file in (project_root / "configs/experiment").iterdir())
    assert experiment_names() == [name for name in files if name != "_smollm2"]
    assert {"world_cpu", "smollm2_gsm8k"} <= set(experiment_names())
